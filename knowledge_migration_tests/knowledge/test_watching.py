"""A process obeys a change of flags without a restart, keeps the last known ones, and reports what it has seen."""

import asyncio
from typing import Any

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.support.conditions import becomes
from knowledge_migration_tests.support.flags import change_flags, watch
from knowledge_migration_tests.support.unreachable import allow_connections


def test_a_notification_is_obeyed_long_before_the_next_poll(peopled: Database) -> None:
    async def work(watcher: FlagWatcher) -> None:
        await asyncio.to_thread(change_flags, peopled, {"dual_write": True})
        await becomes(lambda: watcher.flags.dual_write)

    watch(peopled, work, flag_poll_seconds=3600)


def test_a_change_without_a_notification_is_found_by_polling(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})

    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: watcher.flags.dual_write)
        raw = """UPDATE feature_flags SET version = 9, config = config || '{"dual_write": false}'"""
        await asyncio.to_thread(rows.execute, raw)
        await becomes(lambda: watcher.flags.version == 9)
        assert not watcher.flags.dual_write

    watch(peopled, work, flag_poll_seconds=0.05)


def test_two_processes_obey(peopled: Database) -> None:
    async def work(watcher: FlagWatcher) -> None:
        async with FlagWatcher(ServiceOptions(database_url=peopled.url)).running() as other:
            await asyncio.to_thread(change_flags, peopled, {"cutover_percentage": 5})
            await becomes(lambda: watcher.flags.version == other.flags.version == 1)

    watch(peopled, work)


def test_the_last_known_flags_stay_while_the_database_is_away(peopled: Database, server: Any) -> None:
    change_flags(peopled, {"dual_write": True})

    async def work(watcher: FlagWatcher) -> None:
        await asyncio.to_thread(allow_connections, server, peopled, False)
        await becomes(lambda: "does not answer" in (watcher.problem or ""))
        assert watcher.flags.dual_write
        await asyncio.to_thread(allow_connections, server, peopled, True)
        await asyncio.to_thread(change_flags, peopled, {"cutover_percentage": 5})
        await becomes(lambda: watcher.flags.version == 2 and watcher.problem is None)

    watch(peopled, work, flag_poll_seconds=0.05)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("""UPDATE feature_flags SET config = '{"cutover_percentage": 500}'""", "what flags cannot be"),
        ("DELETE FROM feature_flags", "gone from feature_flags"),
        ("DROP TABLE feature_flags", "gone from feature_flags"),
    ],
)
def test_a_row_that_is_broken_or_lost_is_told_and_not_obeyed(
    peopled: Database, rows: Connection, damage: str, words: str
) -> None:
    change_flags(peopled, {"dual_write": True})

    async def work(watcher: FlagWatcher) -> None:
        await asyncio.to_thread(rows.execute, damage)
        await becomes(lambda: words in (watcher.problem or ""))
        assert watcher.flags.dual_write

    watch(peopled, work, flag_poll_seconds=0.05)


def test_a_process_reports_what_it_has_seen_and_is_gone_when_it_ends(peopled: Database, rows: Connection) -> None:
    def seen() -> list[tuple[Any, ...]]:
        return [
            tuple(row.values()) for row in rows.execute("SELECT mode, flag_version FROM migration.writer_heartbeat")
        ]

    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: seen() == [("off", 0)])
        await asyncio.to_thread(change_flags, peopled, {"dual_write": True})
        await becomes(lambda: seen() == [("dual_write", 1)])

    watch(peopled, work)
    assert seen() == []


def test_before_phase_1_the_environment_is_obeyed(database: Database, connection: Connection) -> None:
    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: watcher.problem is None)
        assert watcher.flags.dual_write

    watch(database, work, initial_flags=Flags(dual_write=True))
    assert count(connection, "SELECT count(*) FROM topics") == 0
