"""What each phase measured, kept in `migration.evidence` beside the data it speaks of."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from knowledge_migration.engine.database import Connection
from knowledge_migration.engine.statements import text_of


@dataclass(frozen=True)
class Evidence:
    """One recorded measurement."""

    kind: str
    recorded_at: datetime
    content: dict[str, Any]

    def age_hours(self, now: datetime | None = None) -> float:
        """Hours since it was recorded."""
        return ((now or datetime.now(UTC)) - self.recorded_at).total_seconds() / 3600


def record(connection: Connection, kind: str, content: dict[str, Any], *, dagster_run_id: str | None = None) -> None:
    """Keeps one measurement; earlier ones of its kind stay."""
    connection.execute(
        text_of("reports/evidence_record"),
        {"kind": kind, "content": Jsonb(content), "dagster_run_id": dagster_run_id},
    )


def latest(connection: Connection, kind: str) -> Evidence | None:
    """The newest measurement of a kind; None when there is none, or no evidence store yet."""
    there = connection.execute("SELECT to_regclass('migration.evidence') AS store").fetchone()
    if not there or there["store"] is None:
        return None
    row = connection.execute(text_of("reports/evidence_latest"), {"kind": kind}).fetchone()
    return Evidence(kind, row["recorded_at"], row["content"]) if row else None
