"""The six phases as they stand, with how far each is; counted where that is quick, else estimated, and said so."""

from dataclasses import dataclass
from datetime import datetime

import psycopg

from knowledge_migration.engine.backfill.control import read_control
from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.backfill.runner import WORK
from knowledge_migration.engine.cleanup.stability import Stability
from knowledge_migration.engine.cutover.state import CutoverState
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.model import Phase
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.stages import STAGES, Stage

COUNTING_MS = "200"
"""How long one table may be counted; beyond that its rows are estimated."""


@dataclass(frozen=True)
class Linked:
    """Rows of one table with their proposal and without; `exact` unless estimated."""

    table: str
    linked: int
    unlinked: int
    exact: bool

    @property
    def total(self) -> int:
        """All rows."""
        return self.linked + self.unlinked


def linked_rows(connection: Connection, kind: EntityKind) -> Linked:
    """Counts within a fraction of a second, or estimates."""
    table = f"public.{kind.table}"
    try:
        with connection.transaction():
            connection.execute(text_of("performance/endpoint_statement_timeout"), {"timeout": COUNTING_MS})
            row = connection.execute(statement("status/table_exact", table=table)).fetchone()
        exact = True
    except psycopg.errors.QueryCanceled:
        parameters = {"table": table, "entity": kind.name}
        row = connection.execute(text_of("status/table_estimated"), parameters).fetchone()
        exact = False
    assert row is not None
    return Linked(kind.table, row["linked"], row["unlinked"], exact)


def backfill_phase(connection: Connection) -> Phase:
    """Phase 3: rows linked of all rows, and while a runner is alive and not paused, when it will be through at its pace."""
    run = run_status(connection)
    tables = [linked_rows(connection, kind) for kind in KINDS]
    linked, total = sum(table.linked for table in tables), sum(table.total for table in tables)
    told = " and ".join(
        f"{'' if table.exact else 'about '}{table.linked:,} of {table.total:,} {table.table}" for table in tables
    )
    if run == "completed" and not any(table.unlinked for table in tables if table.exact):
        return Phase(3, "backfill", "done", f"{told} have their proposal", 1.0)
    if run is None:
        return Phase(3, "backfill", "not begun", f"{told} have their proposal")
    who, eta = _work(connection, total - linked)
    return Phase(3, "backfill", "under way", f"{told} have their proposal; {who}", linked / max(total, 1), eta)


def _work(connection: Connection, left: int) -> tuple[str, float | None]:
    """Who works on it and how quickly, and how many seconds what is left takes; while it is paused nobody knows."""
    runners = connection.execute(text_of("recovery/runners"), {"work": WORK}).fetchall()
    who = f"{len(runners)} at work" if runners else "nobody works on it"
    if read_control(connection).paused:
        return f"{who}, paused by the operator", None
    pace = connection.execute(text_of("status/pace")).fetchone()
    assert pace is not None
    if not (runners and pace["linked"] and pace["seconds"]):
        return who, None
    rate = pace["linked"] / float(pace["seconds"])
    return f"{who}, {rate:,.0f} rows/s", left / rate


def cutover_phase(standing: CutoverState | None, bake_minutes: dict[Stage, float], now: datetime) -> Phase:
    """Phase 4: how many stages stand, and how much of the present one's bake time is over."""
    if standing is None or standing.state in ("off", "dual_write"):
        return Phase(4, "cutover", "not begun", "no user's extractions are proposals only")
    reached = STAGES.index(standing.state) + 1
    following = standing.next_stage
    since = f"{standing.state} since {standing.since:%Y-%m-%d %H:%M} UTC"
    if following is None:
        return Phase(4, "cutover", "done", since, 1.0)
    needed = bake_minutes[following] * 60
    stood = (now - standing.since).total_seconds()
    left = max(needed - stood, 0)
    words = f"{since}; {following} {'may come' if not left else 'has to wait'}"
    return Phase(4, "cutover", "under way", words, reached / len(STAGES), left or None)


def cleanup_phase(stable: Stability | None) -> Phase:
    """Phase 5: whether the old paths are locked, or how much of the two weeks is over."""
    if stable is None or stable.since is None:
        return Phase(5, "cleanup", "not begun", "full cutover has to stand first")
    if stable.flags and stable.flags.legacy_paths_retired:
        return Phase(5, "cleanup", "done", "the old paths are locked", 1.0)
    words = f"stable for {stable.days:.1f} of {stable.required_days:g} days"
    share = 1.0 if stable.required_days == 0 else min(stable.days / stable.required_days, 1.0)
    return Phase(5, "cleanup", "not begun", words, share, stable.missing_days * 86_400 or None)
