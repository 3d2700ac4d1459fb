"""The measurements of each phase, kept in `migration.evidence`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection, exists
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of


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
    """The newest measurement of a kind; None when there is none, or no evidence store yet."""
    if not exists(connection, "migration.evidence"):
        return None
    row = connection.execute(text_of("foundation/evidence_latest"), {"kind": kind}).fetchone()
    return Evidence(kind, row["recorded_at"], row["content"]) if row else None


def require(connection: Connection, kind: str, *, made_by: str, max_age_hours: float | None = None) -> Evidence:
    """The newest measurement of a kind; raises `PreconditionError` naming its asset when it is missing or too old."""
    evidence, name = latest(connection, kind), kind.replace("_", " ")
    if evidence is None:
        raise PreconditionError(f"There is no {name} of this database yet. Materialize {made_by} first.")
    age = evidence.age_hours()
    if max_age_hours is not None and age > max_age_hours:
        raise PreconditionError(
            f"The {name} is {age:.1f} h old (limit {max_age_hours:g} h). Materialize {made_by} again."
        )
    return evidence
