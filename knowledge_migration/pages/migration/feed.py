"""The state for every open page of a process: read in a thread while somebody watches, one reading at a time.

A reading that fails keeps the previous value, with the reason and since when; the next one follows as usual.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.engine.status.reading import with_connect_limits
from knowledge_migration.engine.status.snapshot import CONTROLS, read_status
from knowledge_migration.settings import Settings
from knowledge_migration.thresholds import Stage

PAUSE_SECONDS = 1.0
PAUSES_PER_READING = 5
"""After a slow reading the pause is longer, so that readings take a sixth of the time at most."""
FAILURE_PAUSE_SECONDS = 2.0
SLOW_SECONDS = 5.0

log = logging.getLogger(__name__)

T = TypeVar("T")


Promote = Callable[[Stage, str, str], str | None]
"""Launches the promotion to a stage by an actor for a reason; returns why it failed, None if it succeeded."""


@dataclass(frozen=True)
class MigrationSource:
    """What the page reads, how it launches a promotion (None: it cannot), and where people open Dagster's UI."""

    database: Database
    settings: Settings
    promote: Promote | None = None
    dagster_ui: Callable[[], str | None] = lambda: None

    def read_overview(self, _previous: StatusSnapshot | None = None) -> StatusSnapshot:
        """Phases, gates, queue, checks and evidence. Raises what the database raises."""
        return read_status(self.bounded, self.settings)

    def read_controls(self, previous: StatusSnapshot | None = None) -> StatusSnapshot:
        """What an action of an admin changes: flags, processes, the backfill's controls, the audit trail."""
        return read_status(self.bounded, self.settings, parts=CONTROLS, trail=previous.trail if previous else None)

    def read_trends(self, _previous: StatusSnapshot | None = None) -> StatusSnapshot:
        """The last hour by minute."""
        return read_status(self.bounded, self.settings, parts=("queue", "trends"))

    @property
    def bounded(self) -> Database:
        """The database, with a limit on the time to connect."""
        return with_connect_limits(self.database)


@dataclass(frozen=True)
class Latest(Generic[T]):
    """The latest value and when it was read; `problem` says why it is not newer, since `failing_since`."""

    value: T | None = None
    at: datetime | None = None
    seconds: float = 0.0
    problem: str | None = None
    failing_since: datetime | None = None


Show = Callable[[Latest[T]], None]


class Feed(Generic[T]):
    """Reads while somebody watches; lives in one event loop. `read` is given the previous value."""

    def __init__(
        self, read: Callable[[T | None], T], *, pause_seconds: float = PAUSE_SECONDS, slow_seconds: float = SLOW_SECONDS
    ) -> None:
        self.latest: Latest[T] = Latest()
        self._read = read
        self._pause_seconds = pause_seconds
        self._slow_seconds = slow_seconds
        self._viewers: dict[object, Show[T]] = {}
        self._task: asyncio.Task[None] | None = None
        self._requested = asyncio.Event()
        self._updated = asyncio.Event()

    @property
    def is_reading(self) -> bool:
        """Whether readings go on."""
        return self._task is not None and not self._task.done()

    def watch(self, show: Show[T]) -> Callable[[], None]:
        """Passes every reading to `show` from now on, until the returned function is called."""
        key = object()
        self._viewers[key] = show
        if not self.is_reading:
            self._task = asyncio.get_running_loop().create_task(
                self._read_while_watched(), name="feed", context=Context()
            )

        def stop() -> None:
            self._viewers.pop(key, None)
            if not self._viewers:
                self._requested.set()

        return stop

    def refresh(self) -> None:
        """Starts a reading without delay; if one is under way, directly after it."""
        self._requested.set()

    async def first_reading(self, within_seconds: float) -> None:
        """Waits for the first value, for a limited time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self._viewers and self.latest.at is None and self.latest.problem is None:
                    await self._updated.wait()

    async def _read_while_watched(self) -> None:
        while self._viewers:
            self._requested.clear()
            await self._read_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._requested.wait()

    def _pause(self) -> float:
        """Short after a failure: a database that recovers is read soon, and one that is down bears no load."""
        pause = max(self._pause_seconds, PAUSES_PER_READING * self.latest.seconds)
        return min(pause, FAILURE_PAUSE_SECONDS) if self.latest.problem else pause

    async def _read_once(self) -> None:
        began = time.perf_counter()
        reading = asyncio.ensure_future(asyncio.to_thread(self._read, self.latest.value))
        done, _ = await asyncio.wait({reading}, timeout=self._slow_seconds)
        if not done:
            self._fail(
                f"The database has not answered for {self._slow_seconds:g} seconds; the request is still waiting."
            )
            await asyncio.wait({reading})
        seconds = time.perf_counter() - began
        try:
            value = reading.result()
        except Exception as error:
            self.latest = replace(self.latest, seconds=seconds)
            self._fail(_message(error))
        else:
            self._publish(Latest(value, datetime.now(UTC), seconds))

    def _fail(self, message: str) -> None:
        since = self.latest.failing_since or datetime.now(UTC)
        self._publish(replace(self.latest, problem=message, failing_since=since))

    def _publish(self, latest: Latest[T]) -> None:
        self.latest = latest
        self._updated.set()
        self._updated.clear()
        for show in list(self._viewers.values()):
            try:
                show(latest)
            except Exception:  # a page that fails must not keep the others from updating
                log.exception("A page could not show a reading")


def _message(error: Exception) -> str:
    """For people; an error that is neither the database's nor ours is logged and not shown."""
    if isinstance(error, MigrationError):
        return str(error)
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return f"The database reports: {str(cause).strip().partition(chr(10))[0] or type(cause).__name__}"
    log.error("Reading the state of the migration failed", exc_info=error)
    return "The state could not be read. See the log of the service."
