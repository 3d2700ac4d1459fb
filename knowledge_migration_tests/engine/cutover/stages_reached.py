"""The state of a cutover for tests: measurements of a service, flags, evidence, a clock."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from knowledge_migration.engine.cutover.state import CutoverState, read_cutover_state
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.measurements import Measured
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.thresholds import GATES, Gate, Stage

HOUR = timedelta(hours=1)
ADMINS = (1, 2)


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


def gate(metric: str) -> Gate:
    """The gate of that metric."""
    (found,) = [one for one in GATES if one.metric == metric]
    return found


def set_(database: Database, **changes: Any) -> Flags:
    """Sets flags as an operator does."""
    with database.begin() as transaction:
        return set_flags(transaction, changes, initial=Flags(), actor="a test", reason="a test")


def stand_at(database: Database, stage: Stage | str) -> CutoverState:
    """Sets the flags of a stage, or dual write."""
    changes = {"dual_write": True} if stage == "dual_write" else dict(STAGE_FLAGS[stage])  # type: ignore[index]
    set_(database, **changes, admin_user_ids=ADMINS)
    return read_cutover_state(database)


def measured(
    rows: Connection,
    operation: str,
    mode: str = "",
    *,
    answered: int = 0,
    errors: int = 0,
    refused: int = 0,
    seconds: float = 0.01,
    spread: float = 1.0,
    pool_timeouts: int = 0,
    at: datetime | None = None,
    process: str = "a process",
) -> None:
    """One row of what a process measured: so many answered around `seconds`, alternately `spread` times more and less."""
    kept = Measured(answered + errors + refused, errors, refused, pool_timeouts)
    for number in range(answered):
        kept.answered_in(seconds * (spread if number % 2 else 1 / spread))
    values = {"process": process, "at": at or now(), "operation": operation, "mode": mode, **vars(kept)}
    columns = ", ".join(values)
    places = ", ".join(f"%({name})s" for name in values)
    rows.execute(f"INSERT INTO migration.service_measurement ({columns}) VALUES ({places})", values)  # noqa: S608


def later(**span: float) -> datetime:
    """Some time from now."""
    return now() + timedelta(**span)


def alive(rows: Connection, database: Database, *processes: str) -> None:
    """Live processes that have acknowledged the present flags."""
    flags = read_cutover_state(database).flags
    for process in processes:
        rows.execute(
            "INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at) "
            "VALUES (%(process)s, %(mode)s, %(version)s, now(), now() + interval '1 hour') "
            "ON CONFLICT (process) DO UPDATE SET mode = excluded.mode, flag_version = excluded.flag_version",
            {"process": process, "mode": flags.state, "version": flags.version},
        )


@contextmanager
def acknowledging(database: Database) -> Iterator[None]:
    """A process that reports the newest flags as they come."""
    stop = threading.Event()

    def report() -> None:
        with database.connect("a process") as mine:
            while not stop.wait(0.02):
                alive(mine, database, "one")

    thread = threading.Thread(target=report)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def kept(rows: Connection, kind: str, **content: Any) -> None:
    """Evidence of a kind."""
    evidence.record(rows, kind, content)


def verdicts(rows: Connection, stage: str) -> list[tuple[str, str]]:
    """The recorded verdicts of a state, in order."""
    found = rows.execute("SELECT metric, verdict FROM migration.gate_evaluation WHERE stage = %s ORDER BY id", [stage])
    return [(row["metric"], row["verdict"]) for row in found]
