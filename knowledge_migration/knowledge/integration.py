"""The public module: an application that extracts knowledge by itself gives each result to `Knowledge`, which writes it.

The flags at that moment decide what is written (strategy §4.1, §7.2): topics and atoms as before, proposals, or both. A result
is never refused because the review queue is full, since it cannot be extracted again for free: see `require_room`.
No model is called. How an application uses it, with its Alembic: docs/integrate.md.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.background import BackgroundWork
from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.errors import (
    LEAVING,
    NOT_MIGRATED,
    InvalidError,
    KnowledgeError,
    UnknownError,
    sqlstate,
)
from knowledge_migration.knowledge.extraction.model import ExtractedTopic, GivenAtom, GivenExtraction
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags, Mode, route
from knowledge_migration.knowledge.measurements import EXTRACTION, Outcome, outcome_of_status
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.tables import users
from knowledge_migration.knowledge.transactions import ServiceDatabase
from knowledge_migration.knowledge.writing.modes import Written, write_extraction
from knowledge_migration.knowledge.writing.runs import RunOrigin, admit

__all__ = ["GivenAtom", "GivenExtraction", "Knowledge", "KnowledgeError", "ServiceOptions", "Written"]

CHANGED_SETTINGS = ("statement_timeout", "knowledge_migration.capture")
"""Settings of a transaction that a dual write changes, to be restored where the transaction goes on."""

log = logging.getLogger(__name__)

Part = TypeVar("Part", ExtractedTopic, GivenAtom)


@dataclass
class Knowledge(ServiceDatabase):
    """What one process of an application needs to write knowledge; make one for each process, with the database's address.

    While it is `running` it follows the flags within a second and reports to the database: phase 2 requires that of every
    process that writes topics or atoms, and the gates of phase 4 judge what it has measured.
    """

    finder: DuplicateFinder = field(init=False)
    watcher: FlagWatcher = field(init=False)
    background: BackgroundWork = field(init=False)
    _thread: int | None = field(init=False, default=None)
    _loop: asyncio.AbstractEventLoop | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.finder = DuplicateFinder.with_model(self.options.semantic_model, self.options.name_vectors)
        self.watcher = FlagWatcher(self.options)
        self.background = BackgroundWork(self, self.watcher, self.finder)

    def read_names(self) -> None:
        """Reads the names that duplicates are searched among; with a new model that computes the vectors of all names."""
        with self.blocking_engine("knowledge names").connect() as connection:
            self.finder.refresh(connection.execution_options(isolation_level="AUTOCOMMIT"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Knowledge"]:
        """Follows the flags, reports, and does the background work, while the block runs: the lifespan of the application."""
        metrics.exporter.reset()
        self._thread, self._loop = threading.get_ident(), asyncio.get_running_loop()
        try:
            async with self.watcher.running(), self.background.running():
                yield self
        finally:
            self._thread, self._loop = None, None
            await self.engine.dispose()

    @contextmanager
    def running_in_thread(self) -> Iterator["Knowledge"]:
        """The same for an application without an event loop."""
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self.running()):
            yield self

    async def require_room(self, message_ids: Sequence[int], user_id: int | None) -> None:
        """Raises `QueueFullError` where the proposals of these messages would find the review queue full.

        Call it before the model, so that nothing is paid for in vain; nothing is reserved.
        """
        if route(self.watcher.flags, user_id, message_ids) == "proposal":
            await self.in_transaction(admit, self.options.queue_limit, self.options.queue_retry_after_seconds)

    async def write(
        self,
        result: Any,
        message_ids: Sequence[int],
        user_id: int | None,
        session: AsyncSession | AsyncConnection | None = None,
        *,
        extractor: str = "application",
        extraction_seconds: float = 0.0,
    ) -> Written:
        """Writes an extraction in the caller's transaction, which the caller commits, or in one of its own.

        `result` has `topics` and `atoms` (a dict, or any object) as docs/integrate.md shows; `extraction_seconds` is how long the
        model took, so that the gates compare whole extractions. Raises a `KnowledgeError`, or an error of the caller's driver;
        nothing is written then, and the caller's transaction can go on.
        """
        if session is not None:
            within = partial(self.write_within, extractor=extractor, extraction_seconds=extraction_seconds)
            return await session.run_sync(lambda one: within(one, result, message_ids, user_id))
        given = self._given(result, message_ids, user_id, extractor)
        with self._measured(given.origin.mode, extraction_seconds) as written:
            needs_proposals = given.origin.mode == "proposal"
            flags = self.watcher.flags
            written.append(await self.following_flags(given.write, flags, needs_proposals=needs_proposals))
        return written[0]

    def write_within(
        self,
        session: Session | sa.Connection,
        result: Any,
        message_ids: Sequence[int],
        user_id: int | None,
        *,
        extractor: str = "application",
        extraction_seconds: float = 0.0,
    ) -> Written:
        """As `write`, in the transaction of a synchronous session; objects that the session has loaded are not refreshed."""
        given = self._given(result, message_ids, user_id, extractor)
        with self._measured(given.origin.mode, extraction_seconds) as written:
            written.append(_within(_connection_of(session), given, self.watcher.flags))
        return written[0]

    def _given(self, result: Any, message_ids: Sequence[int], user_id: int | None, extractor: str) -> "_Given":
        flags, ids = self.watcher.flags, tuple(dict.fromkeys(message_ids))
        mode = route(flags, user_id, ids)
        origin = RunOrigin(mode, self.watcher.process, flags.version, extractor, ids, user_id)
        return _Given(_checked(result, ids), origin, self.options, self.finder)

    @contextmanager
    def _measured(self, mode: Mode, seconds: float = 0.0) -> Iterator[list[Written]]:
        """Counts the extraction that the block appends, or its failure; `seconds` were needed before."""
        started, written = time.perf_counter() - seconds, list[Written]()
        outcome: Outcome = "error"
        try:
            yield written
            mode, outcome = written[0].mode, "answered"
        except KnowledgeError as error:
            outcome = outcome_of_status(error.status)
            raise
        except asyncio.CancelledError:
            outcome = "not counted"
            raise
        finally:
            count = partial(self._count, mode, outcome, time.perf_counter() - started, written)
            if self._loop is None or self._thread == threading.get_ident():
                count()
            else:
                self._loop.call_soon_threadsafe(count)

    def _count(self, mode: Mode, outcome: Outcome, seconds: float, written: Sequence[Written]) -> None:
        metrics.count_extraction(mode, "completed" if outcome == "answered" else "failed", seconds)
        self.measurements.count(EXTRACTION, mode, outcome, seconds)
        for one in written:
            metrics.count_written(one)
            if one.similarity_is_due:
                self.background.similarity_is_due()


@dataclass(frozen=True)
class _Given:
    """One result and who has extracted it."""

    extraction: GivenExtraction
    origin: RunOrigin
    options: ServiceOptions
    finder: DuplicateFinder

    def write(self, connection: sa.Connection, flags: Flags) -> Written:
        """Writes it, in the caller's transaction; raises `UnknownError` for a user who does not exist."""
        user = self.origin.user_id
        if user is not None and not connection.execute(sa.select(users.c.id).where(users.c.id == user)).first():
            raise UnknownError(f"There is no user {user}. Nothing was written.")
        return write_extraction(connection, None, flags, self.origin, self.extraction, self.options, self.finder)


def _connection_of(session: Session | sa.Connection) -> sa.Connection:
    """The connection of a session, which has sent what it holds."""
    if isinstance(session, sa.Connection):
        return session
    session.flush()
    return session.connection()


def _within(connection: sa.Connection, given: _Given, flags: Flags) -> Written:
    """Writes in a savepoint of a transaction that goes on; as `following_flags` where the proposal schema is gone."""
    before = [sa.func.current_setting(name, True) for name in CHANGED_SETTINGS]
    values = connection.execute(sa.select(*before)).one()
    try:
        with connection.begin_nested():
            written = given.write(connection, flags)
    except sa.exc.DBAPIError as error:
        without_schema = sqlstate(error) in (*NOT_MIGRATED, LEAVING)
        if not flags.version or given.origin.mode == "proposal" or not without_schema:
            raise
        with connection.begin_nested():
            written = given.write(connection, flags.model_copy(update={"version": 0}))
    if written.mode == "dual_write":
        restored = [
            sa.func.set_config(name, value or "", True) for name, value in zip(CHANGED_SETTINGS, values, strict=True)
        ]
        connection.execute(sa.select(*restored))
    return written


def _checked(result: Any, message_ids: Sequence[int]) -> GivenExtraction:
    """The result, without references to messages that the model was not given; raises `InvalidError` naming what is wrong."""
    try:
        extraction = GivenExtraction.model_validate(result, from_attributes=True)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise InvalidError(f"The result cannot be written ({problems}). Nothing was written.") from None
    topics, atoms = _of_messages(extraction.topics, message_ids), _of_messages(extraction.atoms, message_ids)
    if (topics, atoms) != (extraction.topics, extraction.atoms):
        log.warning("The result refers to messages that it was not extracted from; these references are left out")
    return extraction.model_copy(update={"topics": topics, "atoms": atoms})


def _of_messages(parts: Sequence[Part], message_ids: Sequence[int]) -> tuple[Part, ...]:
    known = frozenset(message_ids)
    return tuple(
        part.model_copy(update={"related_message_ids": tuple(filter(known.__contains__, part.related_message_ids))})
        for part in parts
    )
