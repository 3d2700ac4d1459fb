"""The measurements of each phase, kept in `migration.evidence`; a copy of a database has no evidence of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection, exists
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of

CLOCK_TOLERANCE_SECONDS = 60.0


class Content(dict[str, Any]):
    """The fields of one measurement; one that is asked for and missing raises `VerificationError`."""

    def __init__(self, fields: Any, name: str) -> None:
        super().__init__(fields if isinstance(fields, dict) else {})
        self._name = name
        for field, value in self.items():
            if isinstance(value, dict):
                self[field] = Content(value, name)
            elif isinstance(value, list):
                self[field] = [Content(one, name) if isinstance(one, dict) else one for one in value]

    def __missing__(self, field: str) -> Any:
        raise VerificationError(
            f"The evidence {self._name} has no field {field}: somebody altered migration.evidence, or another version of "
            "the migration recorded it. Make the evidence again."
        )


@dataclass(frozen=True)
class Evidence:
    """One recorded measurement."""

    kind: str
    recorded_at: datetime
    content: dict[str, Any]

    def age_hours(self, now: datetime | None = None) -> float:
        """Hours since it was recorded."""
        return ((now or datetime.now(UTC)) - self.recorded_at).total_seconds() / 3600


def record(
    connection: Connection,
    kind: str,
    content: dict[str, Any],
    *,
    plan_hash: str | None = None,
    dagster_run_id: str | None = None,
) -> None:
    """Records one measurement; earlier ones of its kind stay."""
    values = {"kind": kind, "content": Jsonb(content), "plan_hash": plan_hash, "dagster_run_id": dagster_run_id}
    connection.execute(text_of("foundation/evidence_record"), values)


def latest(connection: Connection, kind: str) -> Evidence | None:
    """The newest measurement of a kind of this database; None when there is none, or no evidence store yet.

    Raises `VerificationError` when it is dated in the future: its age would be a pass for ever.
    """
    if not exists(connection, "migration.evidence"):
        return None
    row = connection.execute(text_of("foundation/evidence_latest"), {"kind": kind}).fetchone()
    if row is None:
        return None
    if row["age_seconds"] < -CLOCK_TOLERANCE_SECONDS:
        raise VerificationError(
            f"The evidence {kind} is dated {row['recorded_at']:%Y-%m-%d %H:%M} UTC, which is in the future: somebody altered "
            "migration.evidence, or the server's clock was set back. Correct the clock, and make the evidence again."
        )
    name = f"{kind} of {row['recorded_at']:%Y-%m-%d %H:%M} UTC"
    return Evidence(kind, row["recorded_at"], Content(row["content"], name))


def _of_another(connection: Connection, kind: str) -> str:
    """A sentence where only another database, of which this one is a copy, has such a measurement."""
    row = None
    if exists(connection, "migration.evidence"):
        row = connection.execute(text_of("foundation/evidence_of_another"), {"kind": kind}).fetchone()
    return (
        f" The one that is recorded here is of the database {row['database_name']}; this one is a copy." if row else ""
    )


def require(connection: Connection, kind: str, *, made_by: str, max_age_hours: float | None = None) -> Evidence:
    """The newest measurement of a kind; raises `PreconditionError` naming its asset when it is missing or too old."""
    evidence, name = latest(connection, kind), kind.replace("_", " ")
    if evidence is None:
        copied = _of_another(connection, kind)
        raise PreconditionError(f"There is no {name} of this database yet.{copied} Materialize {made_by} first.")
    age = evidence.age_hours()
    if max_age_hours is not None and age > max_age_hours:
        raise PreconditionError(
            f"The {name} is {age:.1f} h old (limit {max_age_hours:g} h). Materialize {made_by} again."
        )
    return evidence
