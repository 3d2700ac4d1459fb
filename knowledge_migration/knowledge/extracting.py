"""One extraction, from message ids to written knowledge, in the mode that the flags say (strategy §7.2).

No connection is held while the extractor works. Then one transaction reads the flags again and writes: once all transactions
older than a change of flags have ended, nothing is written in the old mode any more.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.errors import ExtractionFailedError, KnowledgeError, UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction, ExtractionError, Extractor, Message
from knowledge_migration.knowledge.faults import Faults
from knowledge_migration.knowledge.flags import Flags, relation_exists
from knowledge_migration.knowledge.tables import messages, users
from knowledge_migration.knowledge.transactions import ServiceDatabase
from knowledge_migration.knowledge.values import HIGHEST_ID, LOWEST_ID
from knowledge_migration.knowledge.writing.modes import Written, write_extraction
from knowledge_migration.knowledge.writing.runs import RunOrigin, admit, fail_run, open_run

NOTHING_WRITTEN = "Nothing was written; send the messages again later."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionWork:
    """One request for an extraction, and the parts of the service that it needs."""

    database: ServiceDatabase
    extractor: Extractor
    finder: DuplicateFinder
    faults: Faults
    flags: Flags
    origin: RunOrigin

    async def extract(self) -> Written:
        """Raises a `KnowledgeError`; nothing is written then, and the run is recorded as failed."""
        run_id, message_rows, refusal = await self.database.in_transaction(self._begin)
        if refusal:
            raise refusal
        try:
            self.faults.raise_perhaps(self.origin.mode)
            return await self._write(run_id, await self._ask_extractor(message_rows))
        except BaseException as error:
            if run_id:
                await asyncio.shield(self._record_failure(run_id, error))
            raise

    def _begin(self, connection: sa.Connection) -> tuple[UUID | None, list[Message], UnknownError | None]:
        """Reads the messages and records the run; in proposal mode only if the review queue has room.

        Before phase 1 there is no table of runs; direct mode works without it.
        """
        origin, options = self.origin, self.database.options
        message_rows = _messages(connection, origin.message_ids)
        refusal = _refusal(connection, origin, message_rows)
        if origin.mode == "direct" and not relation_exists(connection, "knowledge_extraction_runs"):
            return None, message_rows, refusal  # before phase 1
        try:
            with connection.begin_nested():
                if refusal:
                    known = replace(origin, user_id=None, reserved=0)
                    return open_run(connection, known, failure=str(refusal)), message_rows, refusal
                if origin.mode == "proposal":
                    admit(connection, options.queue_limit, options.queue_retry_after_seconds)
                return open_run(connection, origin, message_rows), message_rows, None
        except sa.exc.DBAPIError as error:
            if (origin.mode == "proposal" and not refusal) or error.connection_invalidated:
                raise
            log.debug("The run is not recorded: %s", error.orig)
            return None, message_rows, refusal

    async def _ask_extractor(self, message_rows: Sequence[Message]) -> Extraction:
        name, seconds = self.extractor.name, self.database.options.extraction_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                extraction = await self.extractor.extract(message_rows)
        except ExtractionError as error:
            raise ExtractionFailedError(f"{error} {NOTHING_WRITTEN}") from error
        except TimeoutError as error:
            raise ExtractionFailedError(
                f"The extractor {name} did not answer within {seconds:g} s. {NOTHING_WRITTEN}"
            ) from error
        except Exception as error:
            log.exception("The extractor %s failed", name)
            raise ExtractionFailedError(
                f"The extractor {name} failed ({type(error).__name__}). {NOTHING_WRITTEN}"
            ) from error
        return _checked(extraction, self.origin.message_ids)

    async def _write(self, run_id: UUID | None, extraction: Extraction) -> Written:
        """The one transaction."""

        def work(connection: sa.Connection, flags: Flags) -> Written:
            return write_extraction(
                connection, run_id, flags, self.origin, extraction, self.database.options, self.finder
            )

        only_proposals = self.origin.mode == "proposal"
        return await self.database.following_flags(work, self.flags, needs_proposals=only_proposals)

    async def _record_failure(self, run_id: UUID, error: BaseException) -> None:
        """Records the failure of the run; while the database is away, the cleaning of any process does it later."""
        reason = str(error) if isinstance(error, KnowledgeError) else type(error).__name__
        try:
            await self.database.in_transaction(fail_run, run_id, reason)
        except Exception as second:
            log.warning("The failure of run %s could not be recorded: %s", run_id, second)


def _messages(connection: sa.Connection, message_ids: Sequence[int]) -> list[Message]:
    columns = messages.c
    query = sa.select(columns.id, columns.content, columns.sent_at, columns.author_id)
    ids = [message_id for message_id in message_ids if LOWEST_ID <= message_id <= HIGHEST_ID]
    by_id = {row.id: Message(*row) for row in connection.execute(query.where(columns.id.in_(ids)))}
    return [by_id[message_id] for message_id in message_ids if message_id in by_id]


def _refusal(connection: sa.Connection, origin: RunOrigin, message_rows: Sequence[Message]) -> UnknownError | None:
    missing = sorted(set(origin.message_ids) - {message.id for message in message_rows})
    if missing:
        return UnknownError(f"There is no message {', '.join(map(str, missing[:20]))}. Nothing was extracted.")
    if origin.user_id is None:
        return None
    user = connection.execute(sa.select(users.c.id).where(users.c.id == origin.user_id)).one_or_none()
    return None if user else UnknownError(f"There is no user {origin.user_id}. Nothing was extracted.")


def _checked(extraction: Any, message_ids: Sequence[int]) -> Extraction:
    """The extraction; raises `ExtractionFailedError` where it is none or refers to other messages."""
    if not isinstance(extraction, Extraction):
        raise ExtractionFailedError(f"The extractor returned something that is no extraction. {NOTHING_WRITTEN}")
    named = {number for part in (*extraction.topics, *extraction.atoms) for number in part.related_message_ids}
    foreign = sorted(named - set(message_ids))
    if foreign:
        raise ExtractionFailedError(
            f"The extractor referred to messages that it was not given ({', '.join(map(str, foreign[:5]))}). "
            f"{NOTHING_WRITTEN}"
        )
    return extraction
