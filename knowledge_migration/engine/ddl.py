"""Runs one schema step on a live database without making its users wait (POSTGRES rules 1, 2, 6, 7).

A statement that locks a live table runs in its own transaction with a short lock_timeout, a bounded number of times;
while a long transaction holds the table it waits beside the queue, since a waiting ACCESS EXCLUSIVE blocks every later
reader. Indexes are built concurrently; what a broken build left behind is dropped and built again. Every step asks the
catalog first whether it is done, so a phase that was killed anywhere is completed by running it again.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

from knowledge_migration.engine.database import Connection
from knowledge_migration.engine.errors import BlockedError
from knowledge_migration.engine.schema_steps import Direction, LockLevel, Step
from knowledge_migration.engine.statements import statement, text_of

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

    def pause(self, attempt: int) -> None:
        """Waits before the next attempt: doubling from 0.1 s to the limit, between half and all of it at random."""
        longest = min(0.1 * 2**attempt, self.retry_max_seconds)
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
            "locks": ", ".join(self.step.touches) or "nothing live",
            "outcome": self.outcome.replace("_", " "),
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
        }


def run_step(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> StepResult:
    """Applies or reverts one step unless the catalog says that it is done.

    Raises `BlockedError` naming the session in the way when all attempts met a lock; the step is then not applied.
    """
    started = time.perf_counter()
    if _is_done(step, direction, object_state(connection, step)):
        return StepResult(step, direction, "already_done", 0, time.perf_counter() - started)
    if step.kind == "index":
        attempts = _change_index(connection, step, direction, limits)
    else:
        attempts = _with_lock_retries(connection, step, direction, limits)
    return StepResult(step, direction, "done", attempts, time.perf_counter() - started)


def object_state(connection: Connection, step: Step) -> State:
    """What the catalog says of the object that the step makes."""
    kind = "constraint" if step.kind == "validation" else step.kind
    parameters = {"kind": kind, "name": step.name, "relation": step.relation or step.name}
    row = connection.execute(statement("reports/object_state"), parameters).fetchone()
    assert row is not None
    state: State = row["state"]
    return state


def _is_done(step: Step, direction: Direction, state: State) -> bool:
    if direction == "down":
        return state == "missing" or step.kind == "validation"
    if step.kind == "constraint":
        return state != "missing"
    return state == "present"


def _with_lock_retries(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> int:
    command = statement(step.path(direction))
    cause: Exception | None = None
    for attempt in range(limits.attempts):
        if attempt:
            limits.pause(attempt - 1)
        if _holders(connection, step, direction, limits.blocker_age_seconds):
            continue
        try:
            with connection.transaction():
                connection.execute(_local_lock_timeout(limits.lock_timeout_ms))
                connection.execute(command)
            return attempt + 1
        except RETRIED as error:
            cause = error
    raise BlockedError(_blocked(connection, step, direction, limits)) from cause


def _local_lock_timeout(milliseconds: int) -> sql.Composed:
    return sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{milliseconds}ms"))


def _holders(connection: Connection, step: Step, direction: Direction, age_seconds: float) -> list[dict[str, Any]]:
    modes = CONFLICTING[step.lock(direction)]
    if not modes:
        return []
    parameters = {
        "tables": [f"public.{table}" for table in step.touches],
        "modes": list(modes),
        "age_seconds": age_seconds,
    }
    return connection.execute(text_of("reports/lock_holders"), parameters).fetchall()


def _blocked(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> str:
    holders = _holders(connection, step, direction, 0.0)
    who = "; ".join(
        f"pid {row['pid']} ({row['application'] or 'unnamed application'}, user {row['user']}) holds {row['mode']} on "
        f"{row['table']} in a transaction of {row['transaction_seconds']:.1f} s, {row['state']}: {row['query']}"
        for row in holders
    )
    return (
        f"Schema step {step.path(direction)} could not lock {', '.join(step.touches)} in {limits.attempts} attempts. "
        f"{who or 'No holder is visible now: short transactions followed one another'}. The step is not applied and "
        "nobody was kept waiting. End that transaction or choose a quieter time, then run the phase again: it goes on."
    )


def _change_index(connection: Connection, step: Step, direction: Direction, limits: LockLimits) -> int:
    """Builds or drops an index concurrently; an invalid leftover is dropped first, also right after a failed build."""
    cap_ms = int(limits.index_build_timeout_minutes * 60_000)
    with _session_timeouts(connection, lock_timeout_ms=0, statement_timeout_ms=cap_ms):
        if direction == "down":
            connection.execute(statement(step.path("down")))
            return 1
        if object_state(connection, step) == "invalid":
            connection.execute(statement(step.path("down")))
        try:
            connection.execute(statement(step.path("up")))
        except psycopg.errors.QueryCanceled as error:
            raise BlockedError(
                f"Building {step.name} took longer than {limits.index_build_timeout_minutes:g} minutes "
                "(INDEX_BUILD_TIMEOUT_MINUTES): it waits for every transaction that is older than the build. End the "
                "oldest one (preflight lists them), then run the phase again: it drops and rebuilds the index."
            ) from error
    return 1


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
