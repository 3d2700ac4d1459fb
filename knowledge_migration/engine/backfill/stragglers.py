"""Rows that an old writer left without a proposal after the backfill was complete (strategy §5.3). Reads only.

A process that the fence could not see, or a script: its rows are found here and linked by the final sweep.
"""

from dataclasses import dataclass

from knowledge_migration.engine.backfill.phase import planned
from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KINDS


@dataclass(frozen=True)
class Stragglers:
    """How many rows there are per table, and the last id of each."""

    rows: dict[str, int]
    last_ids: dict[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.rows.values())

    @property
    def key(self) -> str:
        """The same as long as these are the same rows."""
        return "-".join(f"{self.last_ids[table]}x{self.rows[table]}" for table in sorted(self.rows))


def stragglers(connection: Connection, *, minutes: float) -> Stragglers | None:
    """The rows without a proposal for that long; None while the backfill is not completed, which links them itself."""
    if run_status(connection) != "completed":
        return None
    plans, rows, last_ids = planned(connection), {}, {}
    for kind in KINDS:
        wanted = {"entity": kind.name, "above": plans[kind.name].upper_id, "seconds": minutes * 60}
        found = connection.execute(statement("backfill/stragglers", table=f"public.{kind.table}"), wanted).fetchone()
        assert found is not None  # an aggregate
        rows[kind.table], last_ids[kind.table] = found["rows"], found["last_id"]
    return Stragglers(rows, last_ids)
