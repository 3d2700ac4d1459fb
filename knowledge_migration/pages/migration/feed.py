"""One look for all who watch: taken in a thread, again and again while anybody watches, never two at once.

A look that fails keeps what was seen before, says why and since when, and the next one is taken as ever.
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

from knowledge_migration.engine.foundation.errors import MigrationError

PAUSE_SECONDS = 1.0
PAUSES_PER_LOOK = 5
"""A look that takes long is taken less often, so that looking is a sixth of the time at most."""
FAILURE_PAUSE_SECONDS = 2.0
SLOW_SECONDS = 5.0

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What was seen last, and when; `problem` says why it is not newer, since `failing_since`. Times are of this process."""

    found: T | None = None
    at: datetime | None = None
    seconds: float = 0.0
    problem: str | None = None
    failing_since: datetime | None = None


Tell = Callable[[Seen[T]], None]


class Feed(Generic[T]):
    """Looks while somebody watches; lives in one event loop. `ask` is given what was seen before."""

    def __init__(
        self, ask: Callable[[T | None], T], *, pause_seconds: float = PAUSE_SECONDS, slow_seconds: float = SLOW_SECONDS
    ) -> None:
        self.seen: Seen[T] = Seen()
        self._ask = ask
        self._pause_seconds = pause_seconds
        self._slow_seconds = slow_seconds
        self._viewers: dict[object, Tell[T]] = {}
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    @property
    def is_looking(self) -> bool:
        """Whether looks go on."""
        return self._task is not None and not self._task.done()

    def watch(self, tell: Tell[T]) -> Callable[[], None]:
        """Tells of every look from now on, until what is returned is called."""
        key = object()
        self._viewers[key] = tell
        if not self.is_looking:
            self._task = asyncio.get_running_loop().create_task(self._look_for_ever(), name="looks", context=Context())

        def stop() -> None:
            self._viewers.pop(key, None)
            if not self._viewers:
                self._wanted.set()

        return stop

    def look_at_once(self) -> None:
        """A new look without delay; where one is under way, directly after it."""
        self._wanted.set()

    async def first_look(self, within_seconds: float) -> None:
        """Waits for what there is to see, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self._viewers and self.seen.at is None and self.seen.problem is None:
                    await self._looked.wait()

    async def _look_for_ever(self) -> None:
        while self._viewers:
            self._wanted.clear()
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wanted.wait()

    def _pause(self) -> float:
        """After a failure it is short: a database that comes back is seen soon, and one that is away bears no load."""
        wanted = max(self._pause_seconds, PAUSES_PER_LOOK * self.seen.seconds)
        return min(wanted, FAILURE_PAUSE_SECONDS) if self.seen.problem else wanted

    async def _look(self) -> None:
        began = time.perf_counter()
        asking = asyncio.ensure_future(asyncio.to_thread(self._ask, self.seen.found))
        done, _ = await asyncio.wait({asking}, timeout=self._slow_seconds)
        if not done:
            self._failed(f"The database has not answered for {self._slow_seconds:g} seconds; it is still waited for.")
            await asyncio.wait({asking})
        seconds = time.perf_counter() - began
        try:
            found = asking.result()
        except Exception as error:
            self.seen = replace(self.seen, seconds=seconds)
            self._failed(_words(error))
        else:
            self._tell(Seen(found, datetime.now(UTC), seconds))

    def _failed(self, words: str) -> None:
        since = self.seen.failing_since or datetime.now(UTC)
        self._tell(replace(self.seen, problem=words, failing_since=since))

    def _tell(self, seen: Seen[T]) -> None:
        self.seen = seen
        self._looked.set()
        self._looked.clear()
        for tell in list(self._viewers.values()):
            try:
                tell(seen)
            except Exception:  # one page that fails must not keep the others from seeing
                log.exception("A page could not show what was seen")


def _words(error: Exception) -> str:
    """For people; what is no error of the database or of ours is logged and not told."""
    if isinstance(error, MigrationError):
        return str(error)
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return f"The database says: {str(cause).strip().partition(chr(10))[0] or type(cause).__name__}"
    log.error("A look at the migration failed", exc_info=error)
    return "The look failed. The log of the service says why."
