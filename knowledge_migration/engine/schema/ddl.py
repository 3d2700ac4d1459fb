"""Runs one schema step on a live database without making its users wait (POSTGRES rules 1, 2, 6, 7).

A statement that locks a live table runs in its own transaction with a short lock_timeout, bounded retries, and only when
no long transaction holds the table. Each step checks the catalog first, so that a second run completes a killed one.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import psycopg
from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.steps import Direction, LockLevel, Step
from knowledge_migration.settings import SchemaChangeSettings

State = Literal["missing", "invalid", "present"]
Outcome = Literal["done", "already_done"]

MAINTENANCE = "ShareUpdateExclusiveLock"
"""The lock of VACUUM, which is hours on a large table. To wait for it in the same mode makes no reader or writer wait."""

RETRIED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_SHARE_UPDATE_EXCLUSIVE = (
    MAINTENANCE,
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
class StepResult:
    """The outcome of a step; `attempts` is 0 when there was nothing to do."""

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


def pause(limits: SchemaChangeSettings, attempt: int) -> None:
    """Sleeps before the next attempt: doubling from 0.1 s up to the limit, with 50 % jitter."""
    longest = min(0.1 * 2 ** min(attempt, 32), limits.retry_max_seconds)
    limits.sleep(longest * random.uniform(0.5, 1.0))


def _total_seconds(limits: SchemaChangeSettings) -> float:
    """The longest time that all attempts together take, within PostgreSQL's range of timeouts."""
    return min(limits.attempts * limits.retry_max_seconds, 2_000_000.0)


def run_step(connection: Connection, step: Step, direction: Direction, limits: SchemaChangeSettings) -> StepResult:
    """Applies or reverts one step unless the catalog shows that it is done.

    Raises `BlockedError` naming the blocking session when every attempt met a lock, `MigrationError` with the server's
    message when the server rejected the statement; the step is not applied then.
    """
    started = time.perf_counter()
    if _is_done(step, direction, object_state(connection, step)):
        _record(connection, step, direction)
        return StepResult(step, direction, "already_done", 0, time.perf_counter() - started)
    change = _change_index if step.kind == "index" else _change_in_transaction
    try:
        attempts = change(connection, step, direction, limits)
    except psycopg.Error as error:
        raise MigrationError(_failed(step, direction, str(error).strip())) from error
    state = object_state(connection, step)
    if not _is_done(step, direction, state):
        raise MigrationError(_failed(step, direction, f"the catalog shows {step.object} as {state}"))
    return StepResult(step, direction, "done", attempts, time.perf_counter() - started)


def object_state(connection: Connection, step: Step) -> State:
    """The state of the step's object in the catalog."""
    kind = "constraint" if step.kind == "validation" else step.kind
    parameters = {"kind": kind, "name": step.name, "relation": step.relation or step.name}
    row = connection.execute(text_of("schema/object_state"), parameters).fetchone()
    assert row is not None
    state: State = row["state"]
    return state


def _is_done(step: Step, direction: Direction, state: State) -> bool:
    if direction == "down":
        return state == "missing" or step.kind == "validation"
    if step.kind == "constraint":
        return state != "missing"
    return state == "present"


def _record(connection: Connection, step: Step, direction: Direction) -> None:
    """Records that the step's object is ours, or that it is dropped: an object without a record is never dropped."""
    if step.kind != "validation":
        query = "schema/object_made" if direction == "up" else "schema/object_gone"
        connection.execute(text_of(query), {"name": step.object})


def _failed(step: Step, direction: Direction, reason: str) -> str:
    return (
        f"Schema step {step.revision} {direction} for {step.object} failed: {reason}. The step is not applied; those before "
        "it stay. Correct the cause, then run the phase again: it resumes at this step (a broken index is rebuilt)."
    )


def _change_in_transaction(
    connection: Connection, step: Step, direction: Direction, limits: SchemaChangeSettings
) -> int:
    def change() -> None:
        connection.execute(step.command(direction))
        _record(connection, step, direction)

    what = f"Schema step {step.revision} {direction} for {step.object}"
    return run_locked(connection, change, step.touches, step.lock(direction), limits, what)


def run_locked(
    connection: Connection,
    change: Callable[[], object],
    tables: Sequence[str],
    level: LockLevel,
    limits: SchemaChangeSettings,
    what: str,
) -> int:
    """Runs `change` in a transaction that never queues long for its locks on `tables`; returns the attempts it took.

    Raises `BlockedError` naming the holders when every attempt met a lock; nothing is changed then.
    """

    def attempt(maintained: Sequence[str]) -> None:
        with connection.transaction():
            for table in maintained:
                connection.execute(text_of("schema/outlast_autovacuum"), {"in_transaction": True})
                connection.execute(statement("schema/lock_for_maintenance", table=f"public.{table}"))
            connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(f"{limits.lock_timeout_ms}ms"))
            change()

    return _retried(connection, attempt, tables, level, limits, what)


def run_concurrently(
    connection: Connection, command: sql.Composed, tables: Sequence[str], limits: SchemaChangeSettings, what: str
) -> int:
    """Runs a CONCURRENTLY statement, which cannot run in a transaction, with bounded waits; returns the attempts it took.

    It blocks nobody, but it waits for every user of the tables. Raises `BlockedError` naming them when every attempt met
    one; running it again completes what is half done.
    """

    def attempt(maintained: Sequence[str]) -> None:
        with _session_timeouts(connection, lock_timeout_ms=limits.lock_timeout_ms, statement_timeout_ms=0):
            if maintained:
                connection.execute(text_of("schema/outlast_autovacuum"), {"in_transaction": False})
            connection.execute(command)

    return _retried(connection, attempt, tables, "access_exclusive", limits, what)


def _retried(
    connection: Connection,
    attempt: Callable[[Sequence[str]], None],
    tables: Sequence[str],
    level: LockLevel,
    limits: SchemaChangeSettings,
    what: str,
) -> int:
    holders = partial(_holders, connection, tables, level)
    cause: Exception | None = None
    for number in range(limits.attempts):
        if number:
            pause(limits, number - 1)
        if any(row["mode"] != MAINTENANCE for row in holders(limits.blocker_age_seconds)):
            continue
        try:
            attempt(sorted({row["table"] for row in holders(0.0) if row["mode"] == MAINTENANCE}))
            return number + 1
        except RETRIED as error:
            cause = error
    raise BlockedError(
        f"{what} could not lock {', '.join(tables)} in {limits.attempts} attempts. {_described(holders(0.0))}. It is not "
        "applied, and no user waited. End that transaction or choose a quieter time, then run this again: it resumes."
    ) from cause


def build_concurrently(connection: Connection, command: str, name: str, limits: SchemaChangeSettings) -> None:
    """Builds an index while reads and writes continue; `command` contains CONCURRENTLY. It waits for older transactions.

    Raises `BlockedError` naming them after the build's time limit; an invalid index may be left then.
    """
    with _time_limit(connection, name, limits.index_build_timeout_minutes * 60):
        connection.execute(command.encode())


def _change_index(connection: Connection, step: Step, direction: Direction, limits: SchemaChangeSettings) -> int:
    """Builds or drops an index concurrently; drops an invalid leftover of an earlier build first."""
    seconds = limits.index_build_timeout_minutes * 60 if direction == "up" else _total_seconds(limits)
    with _time_limit(connection, step.name, seconds):
        if object_state(connection, step) != "missing":
            connection.execute(step.command("down"))
        _record(connection, step, direction)
        if direction == "up":
            connection.execute(step.command("up"))
    return 1


@contextmanager
def _time_limit(connection: Connection, index: str, seconds: float) -> Iterator[None]:
    """Bounds each CONCURRENTLY statement by `seconds`, waits for older transactions included."""
    try:
        with _session_timeouts(connection, lock_timeout_ms=0, statement_timeout_ms=int(seconds * 1000)):
            yield
    except psycopg.errors.QueryCanceled as error:
        rows = connection.execute(text_of("preparation/preflight_transactions"), {"age_seconds": 0.0}).fetchall()
        open_now = "; ".join(f"{_session(row)} {_since(row)}, {row['state']}: {row['query']}" for row in rows)
        raise BlockedError(
            f"Index {index} was neither built nor dropped: {str(error).strip()} (time limit {seconds:g} s; for a build it is "
            "INDEX_BUILD_TIMEOUT_MINUTES). It waits for every transaction that is older than itself; open now: "
            f"{open_now or 'none'}. End the oldest, then run the phase again: it drops the leftover and resumes."
        ) from error


def _holders(
    connection: Connection, tables: Sequence[str], level: LockLevel, age_seconds: float
) -> list[dict[str, Any]]:
    if not CONFLICTING[level]:
        return []
    parameters = {
        "tables": [f"public.{table}" for table in tables],
        "modes": list(CONFLICTING[level]),
        "age_seconds": age_seconds,
    }
    return connection.execute(text_of("schema/lock_holders"), parameters).fetchall()


def _described(holders: Sequence[dict[str, Any]]) -> str:
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


@contextmanager
def _session_timeouts(connection: Connection, *, lock_timeout_ms: int, statement_timeout_ms: int) -> Iterator[None]:
    """Timeouts of statements that cannot run in a transaction; those of the session afterwards."""
    timeouts = {"lock_timeout": lock_timeout_ms, "statement_timeout": statement_timeout_ms}
    before = {name: connection.execute("SELECT current_setting(%s) AS value", (name,)).fetchone() for name in timeouts}
    for name, value in timeouts.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    try:
        yield
    finally:
        for name, row in before.items():
            if row and not connection.closed:
                connection.execute("SELECT set_config(%s, %s, false)", (name, row["value"]))
