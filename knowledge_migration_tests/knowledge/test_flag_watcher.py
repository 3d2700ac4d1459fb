"""The flags of real processes through outages, kills, phase 1 and broken rows; `test_watching` has the ordinary days."""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge import flag_watcher
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import count, until
from knowledge_migration_tests.support.conditions import becomes
from knowledge_migration_tests.support.flags import change_flags, watch
from knowledge_migration_tests.support.server_restart import restart

PROGRAM = """
import asyncio, signal, sys
from knowledge_migration.knowledge import flag_watcher
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.options import ServiceOptions
async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with FlagWatcher(ServiceOptions(database_url=sys.argv[1], flag_poll_seconds=3600)).running():
        await ended.wait()
asyncio.run(main())
"""
SEEN = "SELECT mode, flag_version FROM migration.writer_heartbeat ORDER BY process"
END_WATCHING = """
SELECT pg_terminate_backend(pid)::int FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'knowledge flags'
"""


@contextmanager
def process(database: Database) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that watches the flags; it never polls, so what it obeys has come by notification."""
    started = subprocess.Popen([sys.executable, "-c", PROGRAM, database.url])
    try:
        yield started
    finally:
        started.kill()
        started.wait(30)


def seen(rows: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows.execute(SEEN)]


def test_every_process_obeys_a_change_without_a_restart(peopled: Database, rows: Connection) -> None:
    with process(peopled), process(peopled):
        until(rows, "SELECT count(*) = 2 FROM migration.writer_heartbeat")
        change_flags(peopled, {"dual_write": True})
        until(rows, "SELECT count(*) = 2 FROM migration.writer_heartbeat WHERE flag_version = 1")
        change_flags(peopled, {"enabled": True, "cutover_percentage": 100})
        until(rows, "SELECT count(*) = 2 FROM migration.writer_heartbeat WHERE flag_version = 2")
        assert seen(rows) == [("full", 2), ("full", 2)]


def test_a_process_that_ends_in_peace_is_no_writer_any_more_and_a_killed_one_stays_on_record(
    peopled: Database, rows: Connection
) -> None:
    with process(peopled) as peaceful, process(peopled) as killed:
        until(rows, "SELECT count(*) = 2 FROM migration.writer_heartbeat")
        peaceful.send_signal(signal.SIGTERM)
        assert peaceful.wait(30) == 0
        killed.kill()
        killed.wait(30)
    (left,) = rows.execute("SELECT process FROM migration.writer_heartbeat").fetchall()
    assert f":{killed.pid}:" in str(left["process"])


def test_who_was_not_seen_for_a_day_is_forgotten(peopled: Database, rows: Connection) -> None:
    rows.execute("""
        INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at)
        VALUES ('yesterday', 'off', 0, now() - interval '3 days', now() - interval '25 hours'),
               ('an hour ago', 'off', 0, now() - interval '3 days', now() - interval '1 hour')
    """)

    async def work(watcher: FlagWatcher) -> None:
        def known() -> set[str]:
            return {row["process"] for row in rows.execute("SELECT process FROM migration.writer_heartbeat")}

        await becomes(lambda: known() == {"an hour ago", watcher.process})

    watch(peopled, work)


def test_a_heartbeat_goes_on_while_nothing_changes(peopled: Database, rows: Connection) -> None:
    last = "SELECT extract(epoch FROM seen_at) * 1000 FROM migration.writer_heartbeat"

    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: bool(seen(rows)))
        first = count(rows, last)
        await becomes(lambda: count(rows, last) > first)

    watch(peopled, work, flag_poll_seconds=0.05)


def test_a_lost_session_is_replaced_and_listens_again(peopled: Database, rows: Connection) -> None:
    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: watcher.problem is None)
        assert await asyncio.to_thread(count, rows, END_WATCHING) == 1
        await becomes(lambda: "does not answer" in (watcher.problem or ""))
        await becomes(lambda: watcher.problem is None)
        await asyncio.to_thread(change_flags, peopled, {"dual_write": True})
        await becomes(lambda: watcher.flags.dual_write)

    watch(peopled, work)


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that only this test uses, so that it may stop it."""
    with tempfile.TemporaryDirectory(prefix="km_own_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield embedded_server.start(Path(folder) / "data", version=18, cleanup="delete")
        embedded_server.stop(Path(folder) / "data")


def test_the_last_known_flags_outlive_a_crash_of_the_server(own_server: EmbeddedServer) -> None:
    database = own_server.ensure_database("flags")
    with database.connect("test") as connection:
        connection.execute(text_of("legacy/schema"))
    schema.upgrade(database, SchemaChangeSettings())
    change_flags(database, {"dual_write": True})

    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: watcher.flags.dual_write)
        obeyed = list[bool]()
        crash = asyncio.create_task(asyncio.to_thread(restart, own_server, mode="immediate"))
        while not crash.done():
            obeyed.append(watcher.flags.dual_write)
            await asyncio.sleep(0.01)
        await crash
        assert all(obeyed)
        await asyncio.to_thread(change_flags, database, {"cutover_percentage": 5})
        await becomes(lambda: watcher.flags.version == 2 and watcher.problem is None)
        assert watcher.flags.dual_write

    watch(database, work, flag_poll_seconds=0.05)


def test_a_process_that_starts_while_the_database_is_away_begins_with_the_environment(
    peopled: Database, server: EmbeddedServer
) -> None:
    change_flags(peopled, {"cutover_percentage": 5})
    with server.admin.connect("test") as admin:

        async def work(watcher: FlagWatcher) -> None:
            await becomes(lambda: "does not answer" in (watcher.problem or ""))
            assert watcher.flags == Flags(dual_write=True)
            assert watcher.database_seen_at is None
            await asyncio.to_thread(admin.execute, f"ALTER DATABASE {peopled.name} ALLOW_CONNECTIONS true")
            await becomes(lambda: watcher.flags.version == 1 and watcher.problem is None)

        admin.execute(f"ALTER DATABASE {peopled.name} ALLOW_CONNECTIONS false")
        watch(peopled, work, flag_poll_seconds=0.05, initial_flags=Flags(dual_write=True))


def test_a_process_that_runs_through_phase_1_obeys_and_reports_afterwards(
    database: Database, connection: Connection
) -> None:
    async def work(watcher: FlagWatcher) -> None:
        await becomes(lambda: watcher.problem is None)
        assert watcher.flags == Flags(dual_write=True)
        await asyncio.to_thread(schema.upgrade, database, SchemaChangeSettings())
        await becomes(lambda: seen(connection) == [("dual_write", 0)])
        await asyncio.to_thread(change_flags, database, {"cutover_percentage": 5})
        await becomes(lambda: seen(connection) == [("off", 1)])
        assert watcher.flags == Flags(cutover_percentage=5, version=1)

    watch(database, work, flag_poll_seconds=0.05, initial_flags=Flags(dual_write=True))


@pytest.mark.parametrize("broken", [[1], "text", {"unknown": 1}, {"dual_write": "perhaps"}])
def test_a_broken_row_is_told_until_it_is_mended(peopled: Database, rows: Connection, broken: Any) -> None:
    change_flags(peopled, {"dual_write": True})

    async def work(watcher: FlagWatcher) -> None:
        damage = "UPDATE feature_flags SET version = 7, config = %(config)s::jsonb"
        await asyncio.to_thread(rows.execute, damage, {"config": json.dumps(broken)})
        await becomes(lambda: "--reset" in (watcher.problem or ""))
        assert watcher.flags == Flags(dual_write=True, version=1)
        await watcher.reload()
        assert "--reset" in (watcher.problem or "")
        mended = """UPDATE feature_flags SET version = 8, config = '{"cutover_percentage": 5}'"""
        await asyncio.to_thread(rows.execute, mended)
        await becomes(lambda: watcher.flags == Flags(cutover_percentage=5, version=8) and watcher.problem is None)
        await becomes(lambda: seen(rows) == [("off", 8)])

    watch(peopled, work, flag_poll_seconds=0.05)


def test_after_a_lost_row_the_next_change_is_obeyed(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})

    async def work(watcher: FlagWatcher) -> None:
        await asyncio.to_thread(rows.execute, "DELETE FROM feature_flags")
        await becomes(lambda: "gone" in (watcher.problem or ""))
        assert watcher.flags == Flags(dual_write=True, version=1)
        await asyncio.to_thread(change_flags, peopled, {"enabled": True})
        wanted = Flags(enabled=True, dual_write=True, version=2)
        await becomes(lambda: watcher.flags == wanted and watcher.problem is None)

    watch(peopled, work, flag_poll_seconds=0.05)


def test_a_fault_of_ours_does_not_end_the_watching(peopled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async def work(watcher: FlagWatcher) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(flag_watcher, "present_flags", broken)
            await becomes(lambda: "ZeroDivisionError" in (watcher.problem or ""))
        await asyncio.to_thread(change_flags, peopled, {"dual_write": True})
        await becomes(lambda: watcher.flags.dual_write and watcher.problem is None)

    watch(peopled, work, flag_poll_seconds=0.05)


def test_a_reload_reads_at_once_and_says_if_it_cannot(
    peopled: Database, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flag_watcher, "ANSWER_WITHIN_SECONDS", 30.0)  # busy machines

    async def work() -> None:
        watcher = FlagWatcher(ServiceOptions(database_url=peopled.url))  # not running: nothing but the reload reads
        await asyncio.to_thread(change_flags, peopled, {"dual_write": True})
        await watcher.reload()
        assert (watcher.flags.dual_write, watcher.problem) == (True, None)
        with server.admin.connect("test") as admin:
            await asyncio.to_thread(admin.execute, f"ALTER DATABASE {peopled.name} ALLOW_CONNECTIONS false")
            await watcher.reload()
        assert watcher.flags.dual_write
        assert "does not answer" in (watcher.problem or "")

    asyncio.run(work())
