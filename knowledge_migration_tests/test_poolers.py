"""Behind PgBouncer: the migration refuses a pool of transactions, and the service works; neither leaves a setting behind."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from knowledge_migration.commands.service import say_what_a_pooler_hides
from knowledge_migration.engine.foundation.database import Database, UnreachableError
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.rollback import flags as rollback
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.transactions import ServiceDatabase
from knowledge_migration.settings import Settings
from knowledge_migration_tests.chromium import needs_chromium, opened_browser
from knowledge_migration_tests.pages.living import living
from knowledge_migration_tests.support.flags import change_flags
from knowledge_migration_tests.support.pooler import needs_pgbouncer, pooler, setting

pytestmark = needs_pgbouncer
LEFT = ("search_path", "default_transaction_read_only", "statement_timeout", "intervalstyle")


@pytest.fixture(params=["", ", options"], ids=["strict", "ignoring"])
def pooled(
    request: pytest.FixtureRequest, server: EmbeddedServer, expanded: Database, tmp_path: Path
) -> Iterator[Database]:
    with pooler(server, expanded, tmp_path, ignored=request.param) as database:
        yield database


@pytest.fixture
def unchanged(pooled: Database, expanded: Database) -> Iterator[None]:
    """What the application sees in the pool afterwards is what it saw before."""
    yield
    with expanded.connect("test") as connection:
        locks = connection.execute("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert {name: setting(pooled, name) for name in LEFT} == {name: setting(expanded, name) for name in LEFT}
    assert locks == {"n": 0}


@pytest.mark.usefixtures("unchanged")
def test_a_session_of_the_migration_refuses_a_pool_of_transactions(pooled: Database) -> None:
    read_only = {"default_transaction_read_only": "on"}
    with (
        pytest.raises(UnreachableError, match=r"pooler in transaction mode .*own address"),
        pooled.connect(settings=read_only),
    ):
        pass
    with (
        pytest.raises(UnreachableError, match="pooler in transaction mode"),
        pooled.engine(settings=read_only) as engine,
        engine.connect(),
    ):
        pass


def test_a_session_of_the_migration_works_in_a_pool_of_sessions(
    server: EmbeddedServer, expanded: Database, tmp_path: Path
) -> None:
    with pooler(server, expanded, tmp_path, mode="session") as pooled:
        with pooled.connect(settings={"statement_timeout": "1234"}) as connection:
            row = connection.execute("SELECT current_setting('statement_timeout') AS value").fetchone()
        with pooled.engine(settings={"statement_timeout": "1234"}) as engine, engine.connect() as opened:
            value = opened.exec_driver_sql("SELECT current_setting('statement_timeout')").scalar_one()
    assert row == {"value": value} == {"value": "1234ms"}


@pytest.mark.usefixtures("unchanged")
def test_the_transactions_of_the_service_have_their_settings_behind_a_pooler(pooled: Database) -> None:
    database = ServiceDatabase(ServiceOptions(database_url=pooled.url, pool_size=3, statement_timeout_ms=4321))

    def read(connection: sa.Connection) -> tuple[str, str]:
        path = connection.exec_driver_sql("SELECT current_setting('search_path')").scalar_one()
        return path, connection.exec_driver_sql("SELECT current_setting('statement_timeout')").scalar_one()

    async def ask() -> set[tuple[str, str]]:
        try:  # so often that psycopg would prepare the statement
            return {
                answer for _ in range(8) for answer in await asyncio.gather(*map(database.in_transaction, [read] * 3))
            }
        finally:
            await database.engine.dispose()

    assert asyncio.run(ask()) == {('public, "$user", public', "4321ms")}


@pytest.mark.usefixtures("unchanged")
def test_the_flags_are_followed_and_rolled_back_behind_a_pooler(pooled: Database, expanded: Database) -> None:
    async def follow() -> tuple[int, ...]:
        async with FlagWatcher(ServiceOptions(database_url=pooled.url, flag_poll_seconds=0.05)).running() as watcher:
            await asyncio.to_thread(change_flags, expanded, {"enabled": True, "cutover_percentage": 100})
            while watcher.flags.version < 1:
                await asyncio.sleep(0.05)
            done = await asyncio.to_thread(rollback.roll_back, pooled, Flags(), Settings(), "instant", reason="test")
            assert not watcher.flags.enabled
            return done.after.version, watcher.flags.version, len(done.processes)

    assert asyncio.run(asyncio.wait_for(follow(), 60)) == (2, 2, 1)


def test_the_service_says_what_it_cannot_show_behind_a_pooler(
    pooled: Database, expanded: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    say_what_a_pooler_hides(expanded)
    assert capsys.readouterr().out == ""
    say_what_a_pooler_hides(pooled)
    assert "/migration" in capsys.readouterr().out


@pytest.mark.browser
@needs_chromium
def test_the_page_of_a_database_behind_a_pooler_says_so_and_claims_nothing(
    server: EmbeddedServer, expanded: Database, tmp_path: Path
) -> None:
    with pooler(server, expanded, tmp_path) as pooled, living(pooled, tmp_path) as served, opened_browser() as browser:
        page = browser.new_page()
        page.goto(f"{served.url}/migration")
        expect(page.locator("#stale")).to_contain_text("is a pooler in transaction mode", timeout=30_000)
        for part in ("phases", "flags", "backfill", "queue", "gates", "evidence", "audit", "trends"):
            expect(page.locator(f"#{part}")).to_be_hidden()


def test_a_read_only_session_is_accepted_where_the_address_asks_for_a_writable_server(database: Database) -> None:
    asking = Database(f"{database.url}{'&' if '?' in database.url else '?'}target_session_attrs=read-write")
    with asking.connect(settings={"default_transaction_read_only": "on"}) as connection:
        row = connection.execute("SHOW transaction_read_only").fetchone()
    assert row == {"transaction_read_only": "on"}
