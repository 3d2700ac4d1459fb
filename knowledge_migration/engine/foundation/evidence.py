"""What each phase measured, kept in `migration.evidence` beside the data it speaks of."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection
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
    """Keeps one measurement; earlier ones of its kind stay."""
    connection.execute(
        text_of("foundation/evidence_record"),
        {"kind": kind, "content": Jsonb(content), "plan_hash": plan_hash, "dagster_run_id": dagster_run_id},
    )


def latest(connection: Connection, kind: str) -> Evidence | None:
    """The newest measurement of a kind; None when there is none, or no evidence store yet."""
    there = connection.execute("SELECT to_regclass('migration.evidence') AS store").fetchone()
    if not there or there["store"] is None:
        return None
    row = connection.execute(text_of("foundation/evidence_latest"), {"kind": kind}).fetchone()
    return Evidence(kind, row["recorded_at"], row["content"]) if row else None


def require(connection: Connection, kind: str, *, made_by: str, max_age_hours: float | None = None) -> Evidence:
    """The newest measurement of a kind; raises `PreconditionError` naming what makes it when it is missing or too old."""
    found = latest(connection, kind)
    if found is None:
        raise PreconditionError(
            f"There is no {kind.replace('_', ' ')} of this database yet. Materialize {made_by} first."
        )
    age = found.age_hours()
    if max_age_hours is not None and age > max_age_hours:
        raise PreconditionError(
            f"The {kind.replace('_', ' ')} is {age:.1f} h old (limit {max_age_hours:g} h). Materialize {made_by} again."
        )
    return found
