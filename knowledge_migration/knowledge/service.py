"""One process of the knowledge service: its connections, its flags, its extractor, its search for duplicates."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.errors import UnavailableError
from knowledge_migration.knowledge.extracting import ExtractionWork
from knowledge_migration.knowledge.extraction.model import Extractor
from knowledge_migration.knowledge.faults import Faults
from knowledge_migration.knowledge.flag_rollback import FlagRollback, FlagRollbackResult, apply_flags
from knowledge_migration.knowledge.flags import Flags, route
from knowledge_migration.knowledge.integration import Knowledge
from knowledge_migration.knowledge.proposals.stranded import stranded
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.knowledge.writing.modes import Written
from knowledge_migration.knowledge.writing.runs import RunOrigin
from knowledge_migration.settings import FenceSettings

METRICS_TIMEOUT_SECONDS = 2.0


@dataclass
class KnowledgeService(Knowledge):
    """The public methods of the service; a backend calls them, or runs the API over them."""

    extractor: Extractor
    faults: Faults = field(default_factory=Faults)
    collector: metrics.StatusCollector | None = None
    _reading_metrics: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    async def extract(self, message_ids: Sequence[int], user_id: int | None) -> Written:
        """Extracts knowledge from messages (strategy §7.2). Raises a `KnowledgeError`; nothing is written then."""
        flags = self.watcher.flags
        origin = self._origin(flags, tuple(dict.fromkeys(message_ids)), user_id)
        work = ExtractionWork(self, self.extractor, self.finder, self.faults, flags, origin)
        with self._measured(origin.mode) as written:
            written.append(await work.extract())
        return written[0]

    def _origin(self, flags: Flags, message_ids: tuple[int, ...], user_id: int | None) -> RunOrigin:
        mode = route(flags, user_id, message_ids)
        reserved = len(message_ids) * self.options.queue_places_per_message if mode == "proposal" else 0
        return RunOrigin(mode, self.watcher.process, flags.version, self.extractor.name, message_ids, user_id, reserved)

    async def roll_back_flags(
        self, kind: RollbackKind, *, actor: str, reason: str, expected_version: int | None = None
    ) -> FlagRollbackResult:
        """Rolls back by flags (strategy §8.2): returns once they are applied and completes the rollback in the background.

        Raises `FlagsError` where this rollback is not possible, `StaleFlagsError` for another version.
        """
        options = self.options
        timeouts = FenceSettings(live_seconds=options.live_seconds)
        rollback = FlagRollback(
            kind, options.initial_flags, actor, reason, options.direct_threshold, timeouts, expected_version
        )
        started = time.perf_counter()
        before, after = await self.in_transaction(apply_flags, rollback)
        applied = FlagRollbackResult(before, after, time.perf_counter() - started, 0 if after.enabled else None)
        try:
            await self.watcher.reload()
            if not after.enabled:
                with suppress(UnavailableError):
                    waiting = await self.in_transaction(stranded, options.direct_threshold)
                    return replace(applied, stranded=waiting.total)
            return applied
        finally:
            self.background.complete_later(rollback, applied)

    async def refresh_metrics(self) -> None:
        """Reads the state for `/metrics` and `/health` if that is due; one request at a time, for at most two seconds."""
        exporter = metrics.exporter
        exporter.flags = self.watcher.flags
        pool = self.engine.pool
        exporter.pool = (pool.checkedout(), pool.size()) if isinstance(pool, sa.QueuePool) else None
        if self._reading_metrics.locked() or not exporter.is_due(self.options.metrics_seconds):
            return
        async with self._reading_metrics:
            started = time.perf_counter()
            state = None
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(METRICS_TIMEOUT_SECONDS):
                    state = await self._read_state()
            exporter.keep(state, time.perf_counter() - started)

    async def _read_state(self) -> metrics.ServiceState:
        state = await self.in_transaction(metrics.read_service_state, self.options.live_seconds)
        collected = await asyncio.to_thread(self.collector.collect) if self.collector else None
        return replace(state, collected=collected)
