"""A process obeys a change of flags without a restart, keeps the last known ones, and reports what it has seen."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration_tests.engine.backfill.backfilling import count

Work = Callable[[FlagWatcher], Awaitable[Any]]


def watch(database: Database, work: Work, **options: Any) -> Any:
    async def inside() -> Any:
        async with FlagWatcher(ServiceOptions(database_url=database.url, **options)).running() as watcher:
            return await work(watcher)

    return asyncio.run(inside())


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def change(database: Database, **changes: Any) -> Flags:
    with database.begin() as transaction:
        return set_flags(transaction, changes, initial=Flags(), actor="a test", reason="to see")


def test_a_notification_is_obeyed_long_before_the_next_poll(peopled: Database) -> None:
    async def work(watcher: FlagWatcher) -> None:
        await asyncio.to_thread(change, peopled, dual_write=True)
        await becomes(lambda: watcher.flags.dual_write)

    watch(peopled, work, flag_poll_seconds=3600)


def test_a_change_without_a_notification_is_found_by_polling(peopled: Database, rows: Connection) -> None:
    change(peopled, dual_write=True)

    async def work(watcher: FlagWatcher) -> None:
        assert watcher.flags.dual_write
        raw = """UPDATE feature_flags SET version = 9, config = config || '{"dual_write": false}'"""
        await asyncio.to_thread(rows.execute, raw)
        await becomes(lambda: watcher.flags.version == 9)
        assert not watcher.flags.dual_write

    watch(peopled, work, flag_poll_seconds=0.05)


def test_two_processes_obey(peopled: Database) -> None:
    async def work(watcher: FlagWatcher) -> None:
        async with FlagWatcher(ServiceOptions(database_url=peopled.url)).running() as other:
            await asyncio.to_thread(change, peopled, cutover_percentage=5)
            await becomes(lambda: watcher.flags.version == other.flags.version == 1)

    watch(peopled, work)


def test_the_last_known_flags_stay_while_the_database_is_away(peopled: Database, server: Any) -> None:
    change(peopled, dual_write=True)
    with server.admin.connect("test") as admin:

        def away(allowed: bool) -> None:
            admin.execute(f"ALTER DATABASE {peopled.name} ALLOW_CONNECTIONS {allowed}")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(name)s AND NOT %(allowed)s",
                {"name": peopled.name, "allowed": allowed},
            )

        async def work(watcher: FlagWatcher) -> None:
            await asyncio.to_thread(away, False)
            await becomes(lambda: "does not answer" in (watcher.problem or ""))
            assert watcher.flags.dual_write
            await asyncio.to_thread(away, True)
            await asyncio.to_thread(change, peopled, cutover_percentage=5)
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
    change(peopled, dual_write=True)

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
        await asyncio.to_thread(change, peopled, dual_write=True)
        await becomes(lambda: seen() == [("dual_write", 1)])

    watch(peopled, work)
    assert seen() == []


def test_before_phase_1_the_environment_is_obeyed(database: Database, connection: Connection) -> None:
    async def work(watcher: FlagWatcher) -> None:
        assert watcher.flags.dual_write
        assert watcher.problem is None

    watch(database, work, initial_flags=Flags(dual_write=True))
    assert count(connection, "SELECT count(*) FROM topics") == 0
