"""Observes who writes topics and atoms without a proposal: versions of rows since the start of a watch, and open sessions.

A process that does not report is seen too. Reads only; needs autocommit, so that each look sees what is committed by then.
"""

from dataclasses import dataclass

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.settings import FenceSettings


@dataclass(frozen=True)
class Observation:
    """Rows written without a proposal during a watch, per table, and the sessions that may have written them."""

    seconds: float
    rows: dict[str, int]
    sessions: tuple[str, ...]

    @property
    def total(self) -> int:
        """The number of rows in all tables."""
        return sum(self.rows.values())

    @property
    def message(self) -> str:
        """What was seen, for a person."""
        counts = " and ".join(f"{count:,} {table}" for table, count in self.rows.items() if count) or "no row"
        sessions = "; ".join(self.sessions) or "none is connected now"
        return f"{counts} written without a proposal in {self.seconds:g} s. Sessions that are not ours: {sessions}."


def watch(connection: Connection, timeouts: FenceSettings, *, new_only: bool) -> Observation:
    """Watches for `timeouts.watch_seconds`; with `new_only`, rows that were changed and not inserted do not count."""
    start = connection.execute(text_of("dual_write/moment")).fetchone()
    assert start is not None  # a SELECT without FROM
    until, sessions = timeouts.clock() + timeouts.watch_seconds, _sessions(connection)
    while timeouts.clock() < until:
        timeouts.sleep(timeouts.poll_seconds)
        sessions |= _sessions(connection)
    rows = {}
    for kind in KINDS:
        since = {**start, "last_id": start[kind.table], "new_only": new_only}
        row = connection.execute(statement("dual_write/uncaptured", table=f"public.{kind.table}"), since).fetchone()
        assert row is not None  # an aggregate
        rows[kind.table] = row["rows"]
    writing = tuple(sorted(name for name, writes in sessions if writes))
    return Observation(timeouts.watch_seconds, rows, writing or tuple(sorted(name for name, _ in sessions)))


def _sessions(connection: Connection) -> set[tuple[str, bool]]:
    return {
        (f"{row['application']} of role {row['role']} from {row['client']}", row["writes"])
        for row in connection.execute(text_of("dual_write/sessions"))
    }
