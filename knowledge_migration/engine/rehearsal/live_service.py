"""A real knowledge service on the clone, in a thread of this process: it follows the flags and extracts during the drill."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.extraction.model import Extractor
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.writing.modes import Written

START_SECONDS = 30.0
EXTRACTION_SECONDS = 60.0
MANY = 1_000_000


@dataclass(frozen=True)
class LiveService:
    """A running service; this thread requests its extractions."""

    service: KnowledgeService
    loop: asyncio.AbstractEventLoop

    def extract(self, message_ids: tuple[int, ...], user_id: int | None) -> Written:
        """One extraction, in the mode that the flags say; raises `MigrationError` with the service's message."""
        future = asyncio.run_coroutine_threadsafe(self.service.extract(message_ids, user_id), self.loop)
        try:
            return future.result(EXTRACTION_SECONDS)
        except KnowledgeError as error:
            raise MigrationError(f"The extraction of messages {message_ids} failed: {error}") from error


@contextmanager
def live_service(database: Database, extractor: Extractor) -> Iterator[LiveService]:
    """Runs a service while the block runs."""
    options = ServiceOptions(database_url=database.url, pool_size=4, queue_limit=MANY, measurement_seconds=0.5)
    started: list[LiveService] = []
    ready, stop, failures = threading.Event(), threading.Event(), []

    async def serve() -> None:
        service = KnowledgeService(options, extractor)
        async with service.running():
            started.append(LiveService(service, asyncio.get_running_loop()))
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.05)

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="service of the drill")
    log = logging.getLogger("knowledge_migration.knowledge")
    level = log.level
    log.setLevel(logging.CRITICAL)  # its tables are dropped on purpose
    thread.start()
    try:
        ready.wait(START_SECONDS)
        if not started:
            raise MigrationError(f"The knowledge service did not start on the clone: {failures or 'no answer'}.")
        yield started[0]
    finally:
        stop.set()
        thread.join(START_SECONDS)
        log.setLevel(level)
