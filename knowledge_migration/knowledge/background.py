"""The background work of one process: cleaning, similarity flags, measurements, and the end of rollbacks by flags."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.errors import NotMigratedError
from knowledge_migration.knowledge.flag_rollback import FlagRollback, FlagRollbackResult, complete_rollback
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import relation_exists
from knowledge_migration.knowledge.measurements import forget_old_measurements, write_measurements
from knowledge_migration.knowledge.proposals.similarity import due_runs, flag_runs
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.tables import service_measurement
from knowledge_migration.knowledge.transactions import ServiceDatabase
from knowledge_migration.knowledge.writing.runs import fail_abandoned_runs

CLEANING_SECONDS = 30.0
FLAGGING_PAUSE_SECONDS = 0.25
FLAGGED_AT_ONCE = 20
ROLLBACK_ATTEMPTS, ROLLBACK_PAUSE_SECONDS = 3, 2.0

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class _StoppedError(Exception):
    """The process ends while a rollback waits; another process or run completes it."""


@dataclass
class BackgroundWork:
    """The tasks that run beside the requests."""

    database: ServiceDatabase
    watcher: FlagWatcher
    finder: DuplicateFinder
    _similarity_due: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _rollbacks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _stopped: threading.Event = field(init=False, default_factory=threading.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the work while the block runs; writes the last measurements at its end."""
        self._stopped.clear()
        tasks = [asyncio.create_task(work) for work in (self._clean(), self._flag_similar(), self._measure())]
        try:
            yield
        finally:
            self._stopped.set()
            for task in (*tasks, *self._rollbacks):
                task.cancel()
            await asyncio.gather(*tasks, *self._rollbacks, return_exceptions=True)
            await _logging_failure(self._write_measurements())

    def similarity_is_due(self) -> None:
        """Wakes the search for similar proposals."""
        self._similarity_due.set()

    def complete_later(self, rollback: FlagRollback, applied: FlagRollbackResult) -> None:
        """Waits for acknowledgement and settles stranded proposals after the flags were applied."""
        timeouts = rollback.timeouts.replaced(sleep=self._sleep)
        task = asyncio.create_task(self._complete(replace(rollback, timeouts=timeouts), applied))
        self._rollbacks.add(task)
        task.add_done_callback(self._rollbacks.discard)

    async def _complete(self, rollback: FlagRollback, applied: FlagRollbackResult) -> None:
        """Again, up to three times, where it fails: a process does not acknowledge, or the database is away."""
        for _ in range(ROLLBACK_ATTEMPTS):
            try:
                with suppress(_StoppedError):
                    await asyncio.to_thread(self._complete_once, rollback, applied)
                return
            except Exception as error:
                log.warning("The %s rollback is not complete yet: %s", rollback.kind, error)
            await asyncio.sleep(ROLLBACK_PAUSE_SECONDS)

    def _complete_once(self, rollback: FlagRollback, applied: FlagRollbackResult) -> None:
        complete_rollback(self.database.blocking_engine("knowledge rollback"), rollback, applied)

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise _StoppedError

    async def _clean(self) -> None:
        options = self.database.options
        while True:
            works = self.database.in_transaction
            await _logging_failure(works(_where_it_exists, runs, fail_abandoned_runs, 3 * options.live_seconds))
            await _logging_failure(works(_where_it_exists, service_measurement, forget_old_measurements))
            await asyncio.sleep(CLEANING_SECONDS)

    async def _flag_similar(self) -> None:
        """Flags similar proposals of many extractions at a time; first those that an earlier process left."""
        while True:
            while await _logging_failure(asyncio.to_thread(self._flag_some)):
                pass
            with suppress(TimeoutError):  # not wait_for: in Python 3.11 it may swallow a cancellation
                async with asyncio.timeout(CLEANING_SECONDS):
                    await self._similarity_due.wait()
            self._similarity_due.clear()
            await asyncio.sleep(FLAGGING_PAUSE_SECONDS)

    def _flag_some(self) -> bool:
        with self.database.blocking_engine("knowledge similarity").begin() as connection:
            run_ids = _where_it_exists(connection, runs, due_runs, FLAGGED_AT_ONCE)
            if run_ids:
                flag_runs(connection, self.finder, run_ids)
        return bool(run_ids)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(self.database.options.measurement_seconds)
            await _logging_failure(self._write_measurements())

    async def _write_measurements(self) -> None:
        with self.database.measurements.taken() as taken:
            if taken:
                await self.database.in_transaction(
                    _where_it_exists, service_measurement, write_measurements, self.watcher.process, taken
                )


def _where_it_exists(
    connection: sa.Connection,
    table: sa.Table,
    work: Callable[Concatenate[sa.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The work on a table of phase 1; before phase 1 it raises without an error in the log of the server."""
    if not relation_exists(connection, table.fullname):
        raise NotMigratedError(f"{table.fullname} does not exist: phase 1 of the migration has not been run.")
    return work(connection, *args, **kwargs)


async def _logging_failure(work: Awaitable[T]) -> T | None:
    """Background work must not end with its first failure: before phase 1, or while the database is away."""
    try:
        return await work
    except Exception as error:
        log.debug("Background work failed, it is tried again: %s", error)
        return None
