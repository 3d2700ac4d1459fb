"""Runs one schema step on a live database without making its users wait (POSTGRES rules 1, 2, 6, 7).

A statement that locks a live table runs in its own transaction with a short lock_timeout, a bounded number of times;
while a long transaction holds the table it waits beside the queue, since a waiting ACCESS EXCLUSIVE blocks every later
reader. Indexes are built concurrently; what a broken build left behind is dropped and built again. Every step asks the
catalog first whether it is done, so a phase that was killed anywhere is completed by running it again; what it makes is
written down in `migration.schema_object`, in the same transaction.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.steps import Direction, LockLevel, Step

State = Literal["missing", "invalid", "present"]
Outcome = Literal["done", "already_done"]

RETRIED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_SHARE_UPDATE_EXCLUSIVE = (
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_SHARE_ROW_EXCLUSIVE = ("RowExclusiveLock", *_SHARE_UPDATE_EXCLUSIVE)

CONFLICTING: dict[LockLevel, tuple[str, ...]] = {
    "none": (),
    "share_update_exclusive": _SHARE_UPDATE_EXCLUSIVE,
    "share_row_exclusive": _SHARE_ROW_EXCLUSIVE,
    "access_exclusive": ("AccessShareLock", "RowShareLock", *_SHARE_ROW_EXCLUSIVE),
}


@dataclass(frozen=True)
class LockLimits:
    """How long a schema statement may make others wait, and how long it keeps trying."""

    lock_timeout_ms: int = 100
    attempts: int = 60
    retry_max_seconds: float = 5.0
    blocker_age_seconds: float = 0.5
    index_build_timeout_minutes: float = 240.0
    sleep: Callable[[float], None] = time.sleep

    @property
    def patience_seconds(self) -> float:
        """The longest time that all attempts together may take, within what the server takes for a timeout."""
        return min(self.attempts * self.retry_max_seconds, 2_000_000.0)

    def pause(self, attempt: int) -> None:
        """Waits before the next attempt: doubling from 0.1 s to the limit, between half and all of it at random."""
        longest = min(0.1 * 2 ** min(attempt, 32), self.retry_max_seconds)
        self.sleep(longest * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class StepResult:
    """What became of a step: attempts is 0 when there was nothing to do."""

    step: Step
    direction: Direction
    outcome: Outcome
    attempts: int
    seconds: float

    def as_row(self) -> dict[str, Any]:
        """One row of the phase's table."""
        return {
            "revision": self.step.revision,
            "step": self.step.name,
            "kind": self.step.kind,
            "locks": ", ".join(self.step.touches if self.step.lock(self.direction) != "none" else ()) or "nothing live",
            "outcome": self.outcome.replace("_", " "),
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
        }


def run_step(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> StepResult:
    """Applies or reverts one step unless the catalog says that it is done.

    Raises `BlockedError` naming the session in the way when all attempts met a lock, `MigrationError` with the server's
    words when it refused the statement; the step is then not applied.
    """
    started = time.perf_counter()
    if _is_done(step, direction, object_state(connection, step)):
        _remember(connection, step, direction)
        return StepResult(step, direction, "already_done", 0, time.perf_counter() - started)
    change = _change_index if step.kind == "index" else _change_in_transaction
    try:
        attempts = change(connection, step, direction, limits)
    except psycopg.Error as error:
        raise MigrationError(_refused(step, direction, str(error).strip())) from error
    state = object_state(connection, step)
    if not _is_done(step, direction, state):
        raise MigrationError(_refused(step, direction, f"the catalog says that {step.object} is {state}"))
    return StepResult(step, direction, "done", attempts, time.perf_counter() - started)


def object_state(connection: Connection, step: Step) -> State:
    """What the catalog says of the object that the step makes."""
    kind = "constraint" if step.kind == "validation" else step.kind
    parameters = {"kind": kind, "name": step.name, "relation": step.relation or step.name}
    row = connection.execute(statement("schema/object_state"), parameters).fetchone()
    assert row is not None
    state: State = row["state"]
    return state


def _is_done(step: Step, direction: Direction, state: State) -> bool:
    if direction == "down":
        return state == "missing" or step.kind == "validation"
    if step.kind == "constraint":
        return state != "missing"
    return state == "present"


def _remember(connection: Connection, step: Step, direction: Direction) -> None:
    """Writes down that the step's object is ours, or that it is gone: what is not written there is never dropped."""
    if step.kind != "validation":
        file = "schema/object_made" if direction == "up" else "schema/object_gone"
        connection.execute(text_of(file), {"name": step.object})


def _refused(step: Step, direction: Direction, reason: str) -> str:
    return (
        f"Schema step {step.path(direction)} for {step.object} failed: {reason}. The step is not applied, those before it "
        "stay. Correct what is named here, then run the phase again: it goes on from this step (a broken index is rebuilt)."
    )


def _change_in_transaction(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> int:
    def change() -> None:
        connection.execute(statement(step.path(direction)))
        _remember(connection, step, direction)

    what = f"Schema step {step.path(direction)}"
    return run_locked(connection, change, step.touches, step.lock(direction), limits, what)


def run_locked(
    connection: Connection,
    change: Callable[[], object],
    tables: Sequence[str],
    level: LockLevel,
    limits: LockLimits,
    what: str,
) -> int:
    """Runs `change` in a transaction that never queues long for its locks on `tables`; returns the attempts it took.

    Raises `BlockedError` naming who holds them when all attempts met a lock; nothing is changed then.
    """
    cause: Exception | None = None
    for attempt in range(limits.attempts):
        if attempt:
            limits.pause(attempt - 1)
        if _holders(connection, tables, level, limits.blocker_age_seconds):
            continue
        try:
            with connection.transaction():
                connection.execute(_local_lock_timeout(limits.lock_timeout_ms))
                change()
            return attempt + 1
        except RETRIED as error:
            cause = error
    raise BlockedError(
        f"{what} could not lock {', '.join(tables)} in {limits.attempts} attempts. "
        f"{_who(_holders(connection, tables, level, 0.0))}. It is not applied and nobody was kept waiting. "
        "End that transaction or choose a quieter time, then run the phase again: it goes on."
    ) from cause


def run_concurrently(
    connection: Connection, command: sql.Composed, tables: Sequence[str], limits: LockLimits, what: str
) -> int:
    """Runs a CONCURRENTLY statement, which no transaction can hold, with bounded waits; returns the attempts it took.

    It keeps nobody waiting itself, but it waits for everybody who uses the tables. Raises `BlockedError` naming them when
    all attempts met one; what is half done then is completed by running it again.
    """
    cause: Exception | None = None
    for attempt in range(limits.attempts):
        if attempt:
            limits.pause(attempt - 1)
        if _holders(connection, tables, "access_exclusive", limits.blocker_age_seconds):
            continue
        try:
            with _session_timeouts(connection, lock_timeout_ms=limits.lock_timeout_ms, statement_timeout_ms=0):
                connection.execute(command)
            return attempt + 1
        except RETRIED as error:
            cause = error
    raise BlockedError(
        f"{what} found {', '.join(tables)} in use in {limits.attempts} attempts. "
        f"{_who(_holders(connection, tables, 'access_exclusive', 0.0))}. Nobody was kept waiting. End that transaction or "
        "choose a quieter time, then run this again: it goes on."
    ) from cause


def build_concurrently(connection: Connection, command: str, name: str, limits: LockLimits) -> None:
    """Builds an index while reads and writes go on; `command` says CONCURRENTLY. It may wait for older transactions.

    Raises `BlockedError` naming them when it takes longer than it may; an invalid index may be left then.
    """
    cap_seconds = limits.index_build_timeout_minutes * 60
    try:
        with _session_timeouts(connection, lock_timeout_ms=0, statement_timeout_ms=int(cap_seconds * 1000)):
            connection.execute(command.encode())
    except psycopg.errors.QueryCanceled as error:
        raise BlockedError(_cancelled(connection, name, cap_seconds, str(error).strip())) from error


def _local_lock_timeout(milliseconds: int) -> sql.Composed:
    return sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{milliseconds}ms"))


def _holders(
    connection: Connection, tables: Sequence[str], level: LockLevel, age_seconds: float
) -> list[dict[str, Any]]:
    modes = CONFLICTING[level]
    if not modes:
        return []
    parameters = {"tables": [f"public.{table}" for table in tables], "modes": list(modes), "age_seconds": age_seconds}
    return connection.execute(text_of("schema/lock_holders"), parameters).fetchall()


def _who(holders: Sequence[dict[str, Any]]) -> str:
    described = "; ".join(
        f"{_session(row)} holds {row['mode']} on {row['table']} {_since(row)}, {row['state']}: {row['query']}"
        for row in holders
    )
    return described or "No holder is visible now: short transactions followed one another"


def _session(row: dict[str, Any]) -> str:
    if row["pid"] is None:
        return f"{row['application']} of user {row['user']}"
    return f"pid {row['pid']} ({row['application'] or 'unnamed application'}, user {row['user'] or 'none'})"


def _since(row: dict[str, Any]) -> str:
    seconds = row["transaction_seconds"]
    return f"in a transaction of {seconds:.1f} s" if seconds is not None else "in a transaction of unknown age"


def _change_index(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> int:
    """Builds or drops an index concurrently; an invalid leftover of an earlier build is dropped first.

    Both wait for older transactions without holding anybody up: a build as long as it may, a drop as long as other steps.
    """
    cap_seconds = limits.index_build_timeout_minutes * 60 if direction == "up" else limits.patience_seconds
    try:
        with _session_timeouts(connection, lock_timeout_ms=0, statement_timeout_ms=int(cap_seconds * 1000)):
            if object_state(connection, step) != "missing":
                connection.execute(statement(step.path("down")))
            _remember(connection, step, direction)
            if direction == "up":
                connection.execute(statement(step.path("up")))
    except psycopg.errors.QueryCanceled as error:
        raise BlockedError(_cancelled(connection, step.name, cap_seconds, str(error).strip())) from error
    return 1


def _cancelled(connection: Connection, name: str, cap_seconds: float, reason: str) -> str:
    rows = connection.execute(text_of("preparation/preflight_transactions"), {"age_seconds": 0.0}).fetchall()
    open_now = "; ".join(f"{_session(row)} {_since(row)}, {row['state']}: {row['query']}" for row in rows)
    return (
        f"Index {name} was neither built nor dropped: {reason} (it may take {cap_seconds:g} s; a build's limit is "
        f"INDEX_BUILD_TIMEOUT_MINUTES). It waits for every transaction that is older than itself; open now: "
        f"{open_now or 'none'}. End the oldest, then run the phase again: it drops what is left and goes on."
    )


@contextmanager
def _session_timeouts(connection: Connection, *, lock_timeout_ms: int, statement_timeout_ms: int) -> Iterator[None]:
    """Timeouts of statements that cannot run in a transaction; put back afterwards."""
    for name, value in (("lock_timeout", lock_timeout_ms), ("statement_timeout", statement_timeout_ms)):
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("RESET lock_timeout")
            connection.execute("RESET statement_timeout")
