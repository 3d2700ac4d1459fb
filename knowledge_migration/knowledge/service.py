"""One process of the knowledge service: from message ids to written knowledge, in the mode that the flags say.

No connection is held while the extractor works. What is written is one transaction, governed by one state of the flags:
the request's own, or the newer one if they changed while the extractor worked. The transaction asks for that itself, so
when all transactions older than a change have ended, nothing is written in the old mode any more, whatever a slow or
sleeping process believes.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.errors import ExtractionFailedError, KnowledgeError, UnavailableError, UnknownError
from knowledge_migration.knowledge.exporter import look
from knowledge_migration.knowledge.extraction.model import Extraction, ExtractionError, Extractor, Message
from knowledge_migration.knowledge.faults import Faults
from knowledge_migration.knowledge.flag_rollback import FlagRollbackResult, flip
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags, Mode, route
from knowledge_migration.knowledge.measurements import (
    EXTRACTION,
    Measurements,
    Outcome,
    forget_old_measurements,
    outcome_of_status,
    write_measurements,
)
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.proposals.queue import admit
from knowledge_migration.knowledge.proposals.similarity import due_runs, flag_runs
from knowledge_migration.knowledge.proposals.stranded import settle, stranded
from knowledge_migration.knowledge.stages import FlagRollback
from knowledge_migration.knowledge.tables import messages, users
from knowledge_migration.knowledge.writing.modes import Written, write_extraction
from knowledge_migration.knowledge.writing.runs import RunOrigin, fail_abandoned_runs, fail_run, open_run

ATTEMPTS = 4
CLEANING_SECONDS = 30.0
FLAGGING_PAUSE_SECONDS = 0.25
FLAGGED_AT_ONCE = 20
LOOKING_SECONDS = 2.0
SETTLING_ROUNDS, SETTLING_PAUSE_SECONDS = 3, 2.0
COLLISIONS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.ForeignKeyViolation)
LARGEST_ID = 2**63 - 1

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class KnowledgeService:
    """The parts of one process: its connections, its flags, its extractor, its search for duplicates."""

    options: ServiceOptions
    extractor: Extractor
    finder: DuplicateFinder = field(default_factory=DuplicateFinder)
    measurements: Measurements = field(default_factory=Measurements)
    faults: Faults = field(default_factory=Faults)
    engine: AsyncEngine = field(init=False)
    _looking: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _flagging: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _settling: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    watcher: FlagWatcher = field(init=False)

    def __post_init__(self) -> None:
        self.engine = create_async_engine(
            self._url,
            pool_size=self.options.pool_size,
            max_overflow=0,
            pool_timeout=self.options.pool_timeout_seconds,
            pool_pre_ping=True,
            connect_args=self._connect_args("knowledge service"),
        )
        self.watcher = FlagWatcher(self.options)

    @property
    def _url(self) -> sa.URL:
        return make_url(self.options.database_url).set(drivername="postgresql+psycopg")

    def _connect_args(self, name: str) -> dict[str, Any]:
        return {
            "application_name": name,
            "connect_timeout": 5,
            "options": f"-c timezone=UTC -c statement_timeout={self.options.statement_timeout_ms} "
            "-c idle_in_transaction_session_timeout=60s",
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KnowledgeService"]:
        """The service while it runs: it watches the flags, and ends what dead processes have left running."""
        metrics.migration.forget()
        async with self.watcher.running():
            work = (self._clean_up_for_ever(), self._flag_for_ever(), self._measure_for_ever())
            tasks = [asyncio.create_task(one) for one in work]
            try:
                yield self
            finally:
                for task in (*tasks, *self._settling):
                    task.cancel()
                await asyncio.gather(*tasks, *self._settling, return_exceptions=True)
                await _logging_failure(self._write_measurements())
                await self.engine.dispose()

    async def in_transaction(
        self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs `work(connection, …)` in one transaction; again, a few times, when it collided with another one.

        Raises `UnavailableError` where the database, or a table that `work` needs, is not there.
        """
        for attempt in range(ATTEMPTS):
            try:
                async with self.engine.begin() as connection:
                    return await connection.run_sync(work, *args, **kwargs)
            except sa.exc.TimeoutError as error:
                self.measurements.pool_timed_out()
                raise UnavailableError("All connections to the database are in use. Try again in a moment.") from error
            except sa.exc.DBAPIError as error:
                if attempt + 1 == ATTEMPTS or not isinstance(error.orig, COLLISIONS):
                    raise _translated(error) from error
                await asyncio.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def extract(self, message_ids: Sequence[int], user_id: int | None) -> Written:
        """Extracts knowledge from messages (strategy §7.2). Raises a `KnowledgeError`; nothing is written then."""
        flags = self.watcher.flags
        origin = self._origin(flags, tuple(dict.fromkeys(message_ids)), user_id)
        started, mode = time.perf_counter(), origin.mode
        outcome: Outcome = "error"
        try:
            written = await self._extract(flags, origin)
            mode, outcome = written.mode, "answered"
        except KnowledgeError as error:
            outcome = outcome_of_status(error.status)
            raise
        except asyncio.CancelledError:
            outcome = "not counted"
            raise
        finally:
            self._measured(mode, outcome, time.perf_counter() - started)
        metrics.count_written(written)
        if written.similarity_is_due:
            self._flagging.set()
        return written

    def _measured(self, mode: Mode, outcome: Outcome, seconds: float) -> None:
        metrics.count_extraction(mode, "completed" if outcome == "answered" else "failed", seconds)
        self.measurements.count(EXTRACTION, mode, outcome, seconds)

    def _origin(self, flags: Flags, message_ids: tuple[int, ...], user_id: int | None) -> RunOrigin:
        mode = route(flags, user_id, message_ids)
        reserved = len(message_ids) * self.options.queue_places_per_message if mode == "proposal" else 0
        return RunOrigin(mode, self.watcher.process, flags.version, self.extractor.name, message_ids, user_id, reserved)

    async def _extract(self, flags: Flags, origin: RunOrigin) -> Written:
        run_id, found, refusal = await self.in_transaction(self._begin, origin)
        if refusal:
            raise refusal
        try:
            self.faults.raise_perhaps(origin.mode)
            extraction = await self._ask_extractor(found, origin)
            return await self._write(run_id, flags, origin, extraction)
        except BaseException as error:
            if run_id:
                await asyncio.shield(self._record_failure(run_id, error))
            raise

    def _begin(
        self, connection: sa.Connection, origin: RunOrigin
    ) -> tuple[UUID | None, list[Message], UnknownError | None]:
        """Reads the messages and records the run; in proposal mode only if the review queue has room.

        Before phase 1 there is no table for runs: direct mode does without.
        """
        found = _messages(connection, origin.message_ids)
        refusal = _refusal(connection, origin, found)
        try:
            with connection.begin_nested():
                if refusal:
                    known = replace(origin, user_id=None, reserved=0)
                    return open_run(connection, known, failure=str(refusal)), found, refusal
                if origin.mode == "proposal":
                    admit(connection, self.options.queue_limit, self.options.queue_retry_after_seconds)
                return open_run(connection, origin, found), found, None
        except sa.exc.DBAPIError as error:
            if (origin.mode == "proposal" and not refusal) or error.connection_invalidated:
                raise
            log.debug("The run is not recorded: %s", error.orig)
            return None, found, refusal

    async def _ask_extractor(self, found: Sequence[Message], origin: RunOrigin) -> Extraction:
        try:
            async with asyncio.timeout(self.options.extraction_timeout_seconds):
                extraction = await self.extractor.extract(found)
        except ExtractionError as error:
            raise ExtractionFailedError(f"{error} Nothing was written; send the messages again later.") from error
        except TimeoutError as error:
            raise ExtractionFailedError(
                f"The extractor {self.extractor.name} did not answer within "
                f"{self.options.extraction_timeout_seconds:g} s. Nothing was written; send the messages again later."
            ) from error
        except Exception as error:
            log.exception("The extractor %s failed", self.extractor.name)
            raise ExtractionFailedError(
                f"The extractor {self.extractor.name} failed ({type(error).__name__}). Nothing was written; send the "
                "messages again later."
            ) from error
        return _checked(extraction, origin.message_ids)

    async def _write(self, run_id: UUID | None, flags: Flags, origin: RunOrigin, extraction: Extraction) -> Written:
        """The one transaction. Where the table of the flags is gone, those that were last known are obeyed."""
        parts = (origin, extraction, self.options, self.finder)
        try:
            return await self.in_transaction(write_extraction, run_id, flags, *parts)
        except UnavailableError:
            if not flags.version or origin.mode == "proposal":
                raise
            return await self.in_transaction(write_extraction, run_id, flags.model_copy(update={"version": 0}), *parts)

    async def _record_failure(self, run_id: UUID, error: BaseException) -> None:
        """Marks the run failed; where the database is away, the next process to look does it."""
        reason = str(error) if isinstance(error, KnowledgeError) else f"{type(error).__name__}"
        try:
            await self.in_transaction(fail_run, run_id, reason)
        except Exception as second:
            log.warning("The failure of run %s could not be recorded: %s", run_id, second)

    async def _clean_up_for_ever(self) -> None:
        while True:
            await _logging_failure(self.in_transaction(fail_abandoned_runs, 3 * self.options.writer_live_seconds))
            await _logging_failure(self.in_transaction(forget_old_measurements))
            await asyncio.sleep(CLEANING_SECONDS)

    async def look_for_metrics(self) -> None:
        """Refreshes what `/metrics` says of the database, if that is due; one scrape at a time looks, and none waits long."""
        exported = metrics.migration
        exported.flags = self.watcher.flags
        pool = self.engine.pool
        exported.pool = (pool.checkedout(), pool.size()) if isinstance(pool, sa.QueuePool) else None
        if self._looking.locked() or not exported.is_due(self.options.metrics_seconds):
            return
        async with self._looking:
            began = time.perf_counter()
            found = None
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(LOOKING_SECONDS):
                    found = await self.in_transaction(look, self.options.writer_live_seconds)
            exported.took(found, time.perf_counter() - began)

    async def _measure_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.options.measurement_seconds)
            await _logging_failure(self._write_measurements())

    async def _write_measurements(self) -> None:
        with self.measurements.taken() as taken:
            if taken:
                await self.in_transaction(write_measurements, self.watcher.process, taken)

    def _flag_some(self) -> bool:
        """In a thread and on a connection of its own: comparing names would hold the event loop up."""
        connect_args = self._connect_args("knowledge similarity")
        engine = sa.create_engine(self._url, poolclass=sa.NullPool, connect_args=connect_args)
        with engine.begin() as connection:
            run_ids = due_runs(connection, FLAGGED_AT_ONCE)
            if run_ids:
                flag_runs(connection, self.finder, run_ids)
        return bool(run_ids)

    async def roll_back_flags(
        self, way: FlagRollback, *, actor: str, reason: str, expected_version: int | None = None
    ) -> FlagRollbackResult:
        """Goes back by flags (strategy §8.2): `instant` switches proposals off, `partial` leaves a tenth of the users.

        Every process obeys within a second; what `instant` strands is replayed or parked in the background, whatever
        fails after the flip. Raises `FlagsError` where the way leads nowhere, `StaleFlagsError` for another version.
        """
        initial = self.options.initial_flags
        before, after = await self.in_transaction(
            flip, way, initial=initial, actor=actor, reason=reason, expected_version=expected_version
        )
        if after.enabled:
            await self.watcher.reload()
            return FlagRollbackResult(before, after, 0)
        try:
            await self.watcher.reload()
            waiting = await self.in_transaction(stranded, self.options.direct_threshold)
        except UnavailableError:
            return FlagRollbackResult(before, after, None)
        finally:
            self.settle_later(actor, reason)
        return FlagRollbackResult(before, after, waiting.total)

    def settle_later(self, actor: str, reason: str) -> None:
        """Replays or parks, in the background, what switching proposals off has stranded; the next way back would, too."""
        task = asyncio.create_task(self._settle(actor, reason))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, actor: str, reason: str) -> None:
        """More than once: transactions older than the flip may still write proposals."""
        for _ in range(SETTLING_ROUNDS):
            await _logging_failure(asyncio.to_thread(self._settle_once, actor, reason))
            await asyncio.sleep(SETTLING_PAUSE_SECONDS)

    def _settle_once(self, actor: str, reason: str) -> None:
        connect_args = self._connect_args("knowledge way back")
        engine = sa.create_engine(self._url, poolclass=sa.NullPool, connect_args=connect_args)
        settle(engine, self.options.direct_threshold, actor=actor, reason=reason)

    async def _flag_for_ever(self) -> None:
        """Flags what is similar after extractions, many at a time; first what an earlier process owed."""
        while True:
            while await _logging_failure(asyncio.to_thread(self._flag_some)):
                pass
            with suppress(TimeoutError):  # not wait_for: in Python 3.11 it may swallow a cancellation
                async with asyncio.timeout(CLEANING_SECONDS):
                    await self._flagging.wait()
            self._flagging.clear()
            await asyncio.sleep(FLAGGING_PAUSE_SECONDS)


async def _logging_failure(work: Awaitable[T]) -> T | None:
    """Work in the background must not end with its first failure: before phase 1, or while the database is away."""
    try:
        return await work
    except Exception as error:
        log.debug("Background work failed, it is tried again: %s", error)
        return None


def _messages(connection: sa.Connection, message_ids: Sequence[int]) -> list[Message]:
    columns = messages.c
    query = sa.select(columns.id, columns.content, columns.sent_at, columns.author_id)
    ids = [one for one in message_ids if 0 < one <= LARGEST_ID]
    found = {row.id: Message(*row) for row in connection.execute(query.where(columns.id.in_(ids)))}
    return [found[one] for one in message_ids if one in found]


def _refusal(connection: sa.Connection, origin: RunOrigin, found: Sequence[Message]) -> UnknownError | None:
    missing = sorted(set(origin.message_ids) - {message.id for message in found})
    if missing:
        return UnknownError(f"There is no message {', '.join(map(str, missing[:20]))}. Nothing was extracted.")
    if origin.user_id is None:
        return None
    known = connection.execute(sa.select(users.c.id).where(users.c.id == origin.user_id)).one_or_none()
    return None if known else UnknownError(f"There is no user {origin.user_id}. Nothing was extracted.")


def _checked(extraction: Any, message_ids: Sequence[int]) -> Extraction:
    """The extraction, if it is one and speaks of the given messages only."""
    if not isinstance(extraction, Extraction):
        raise ExtractionFailedError("The extractor returned something that is no extraction. Nothing was written.")
    named = {one for part in (*extraction.topics, *extraction.atoms) for one in part.related_message_ids}
    foreign = sorted(named - set(message_ids))
    if foreign:
        raise ExtractionFailedError(
            f"The extractor spoke of messages that it was not given ({', '.join(map(str, foreign[:5]))}). "
            "Nothing was written; send the messages again later."
        )
    return extraction


def _translated(error: sa.exc.DBAPIError) -> Exception:
    """What a caller can be told; a fault of ours stays as it is."""
    cause = error.orig
    if error.connection_invalidated or isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return UnavailableError("The database does not answer at the moment; nothing was written. Try again.")
    if isinstance(
        cause, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn | psycopg.errors.InvalidSchemaName
    ):
        return UnavailableError(
            "The schema of the proposals is not there: phase 1 of the migration has not been run here."
        )
    return error
