"""Keeps the flags of one process up to date, and writes its heartbeat with the flag version that it has seen.

A notification announces a change; polling every half second covers lost ones, and all of them behind a pooler. While the
database is unavailable, and where the row is lost or invalid, the newest of the known and the last audited flags apply, and the
problem is logged.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from knowledge_migration.addresses import parsed
from knowledge_migration.knowledge.flags import CHANNEL, LOST, Flags, present_flags, relation_exists
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.tables import writer_heartbeat
from knowledge_migration.session_settings import TEXT, apply_to_engine

HEARTBEAT_SECONDS = 1.0
ANSWER_WITHIN_SECONDS = 2.0
KEPT = "1 day"

log = logging.getLogger(__name__)


class FlagWatcher:
    """The flags of this process, kept up to date while `running`."""

    def __init__(self, options: ServiceOptions) -> None:
        self.flags = options.initial_flags
        self.process = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns():x}"
        self.database_seen_at: float | None = None
        self.problem: str | None = "the flags have not been read yet"
        self._options = options
        self._started_at = datetime.now(UTC)
        self._changed = asyncio.Event()
        self._engine = create_async_engine(
            parsed(options.database_url),
            poolclass=NullPool,
            connect_args={
                "application_name": "knowledge flags",
                "connect_timeout": int(ANSWER_WITHIN_SECONDS),
                "prepare_threshold": None,
            },
        )
        apply_to_engine(self._engine.sync_engine, {**TEXT, "idle_session_timeout": "0"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FlagWatcher"]:
        """Watches while the block runs; reads the flags once before, if the database answers."""
        task = asyncio.create_task(self._run(), name="flag watcher")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                    await self._changed.wait()
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._remove_heartbeat()
            await self._engine.dispose()

    async def reload(self) -> None:
        """Reads the flags now; where the database does not answer, they stay and `problem` is set."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS), self._engine.connect() as connection:
                if await self._read(connection):
                    await self._report(connection)
        except (sa.exc.DBAPIError, psycopg.Error, OSError, TimeoutError) as error:
            self._set_problem(f"the database does not answer: {type(error).__name__}")

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(2 * ANSWER_WITHIN_SECONDS):
                    connection = await self._engine.connect()
                try:
                    await self._watch(connection)
                finally:
                    await connection.invalidate()
                    await connection.close()
            except (sa.exc.DBAPIError, psycopg.Error, OSError, TimeoutError) as error:
                self._set_problem(f"the database does not answer: {type(error).__name__}")
            except Exception as error:  # if this task ended, the flags would never change again
                log.exception("The flags could not be read; it is tried again")
                self._set_problem(f"they could not be read: {type(error).__name__}")
            await asyncio.sleep(self._options.flag_poll_seconds)

    async def _watch(self, connection: AsyncConnection) -> None:
        """Applies changes and reports until the connection is lost."""
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        listens = not connection.info["pooled"]  # notifications of a session that a pooler shares would reach others
        if listens:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS), connection.begin():
                await connection.exec_driver_sql(f'LISTEN "{CHANNEL}"')
        reported = 0.0
        while True:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                changed = await self._read(connection)
                if changed or time.monotonic() - reported >= HEARTBEAT_SECONDS:
                    await self._report(connection)
                    reported = time.monotonic()
            if not listens:
                await asyncio.sleep(self._options.flag_poll_seconds)
                continue
            async for _ in raw.notifies(timeout=self._options.flag_poll_seconds, stop_after=1):
                pass

    async def _read(self, connection: AsyncConnection) -> bool:
        """Applies the flags of the row; returns whether they are new."""
        before = self.flags
        try:
            async with connection.begin():
                self.flags, problem = await connection.run_sync(present_flags, before)
        except sa.exc.ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.UndefinedTable):
                raise
            problem = LOST if before.version else None  # before phase 1 only the environment counts
        self.database_seen_at = time.monotonic()
        self._set_problem(problem)
        self._changed.set()
        return self.flags != before

    def _set_problem(self, problem: str | None) -> None:
        if problem and problem != self.problem:
            log.warning("Flags version %s stay: %s", self.flags.version, problem)
        self.problem = problem

    async def _report(self, connection: AsyncConnection) -> None:
        """Writes the heartbeat, if the schema `migration` exists."""
        try:
            async with connection.begin():
                await connection.run_sync(
                    _beat, self.process, self.flags, self._started_at, self._options.announced_url
                )
        except sa.exc.ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
                raise

    async def _remove_heartbeat(self) -> None:
        """A process that ends normally is no writer any more, at once."""
        own = writer_heartbeat.c.process == self.process
        with suppress(sa.exc.DBAPIError, psycopg.Error, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS), self._engine.begin() as connection:
                if await connection.run_sync(relation_exists, writer_heartbeat.fullname):
                    await connection.execute(sa.delete(writer_heartbeat).where(own))


def _beat(connection: sa.Connection, process: str, flags: Flags, started_at: datetime, url: str | None) -> None:
    if not flags.version and not relation_exists(connection, "migration.writer_heartbeat"):
        return
    now = sa.func.clock_timestamp()
    new = {"mode": flags.state, "flag_version": flags.version, "seen_at": now}
    connection.execute(
        insert(writer_heartbeat)
        .values(process=process, started_at=started_at, url=url, **new)
        .on_conflict_do_update(index_elements=["process"], set_=new)
    )
    oldest = now - sa.cast(KEPT, sa.Interval)
    connection.execute(sa.delete(writer_heartbeat).where(writer_heartbeat.c.seen_at < oldest))
