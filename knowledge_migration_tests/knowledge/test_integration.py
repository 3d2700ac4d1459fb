"""The public module: a result that an application has extracted, on sessions of both drivers, in its transaction or its own."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from knowledge_migration.addresses import parsed
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema import capture
from knowledge_migration.engine.schema.upgrade import downgrade
from knowledge_migration.knowledge.errors import InvalidError, QueueFullError, UnknownError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.integration import Knowledge, ServiceOptions, Written
from knowledge_migration.knowledge.writing.shadow import repair_next
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import broken_rules, count
from knowledge_migration_tests.knowledge.conftest import FOUND, PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.flags import DIRECT, DUAL, PROPOSAL, change_flags

DRIVERS = ("asyncpg", "psycopg")
RESULT: dict[str, Any] = FOUND.model_dump(mode="json")
WRITTEN = {
    "direct": (2, 2, 0, 0),
    "dual_write": (2, 2, 3, 4),
    "proposal": (0, 1, 3, 4),
}
"""Topics, atoms, and their proposals; in proposal mode only the atom of confidence 0.99 becomes a row at once."""

Work = Callable[[Knowledge, AsyncSession], Awaitable[Any]]


def within(database: Database, driver: str, flags: Flags, work: Work, **options: Any) -> Any:
    """Runs the work of an application with a session of this driver, and commits."""

    async def inside() -> Any:
        engine = create_async_engine(parsed(database.url).set(drivername=f"postgresql+{driver}"))
        given = {"database_url": database.url, "initial_flags": flags, "shadow_timeout_ms": 30_000, **options}
        try:
            async with Knowledge(ServiceOptions(**given)).running() as knowledge, AsyncSession(engine) as session:
                result = await work(knowledge, session)
                await session.commit()
                return result
        finally:
            await engine.dispose()

    return asyncio.run(inside())


def rows_of(connection: Connection) -> tuple[int, ...]:
    tables = ("topics", "atoms", "topic_proposals", "atom_proposals")
    return tuple(count(connection, f"SELECT count(*) FROM {table}") for table in tables)  # noqa: S608


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("flags", [DIRECT, DUAL, PROPOSAL], ids=["direct", "dual_write", "proposal"])
def test_the_flags_decide_what_an_application_writes(
    peopled: Database, rows: Connection, driver: str, flags: Flags
) -> None:
    async def work(knowledge: Knowledge, session: AsyncSession) -> Written:
        before = await session.scalar(sa.text("SELECT current_setting('statement_timeout')"))
        written = await knowledge.write(RESULT, [1, 2, 3], 1, session, extractor="ours:v2")
        assert await session.scalar(sa.text("SELECT current_setting('statement_timeout')")) == before
        return written

    change_flags(peopled, flags.values)
    written = within(peopled, driver, DIRECT, work)
    assert rows_of(rows) == WRITTEN[written.mode]
    assert count(rows, "SELECT count(*) FROM atoms WHERE confidence < 0.7") == 0
    assert count(rows, "SELECT count(*) FROM messages WHERE topic_id IS NOT NULL") == (0 if flags is PROPOSAL else 3)
    if flags is not DIRECT:
        linked = "SELECT count(*) FROM {} WHERE migrated_from_proposal_id IS NULL"
        assert [count(rows, linked.format(table)) for table in ("topics", "atoms")] == [0, 0]
        run = rows.execute("SELECT status, message_ids, settings, created_by_user_id FROM knowledge_extraction_runs")
        [row] = run.fetchall()
        assert (row["status"], row["message_ids"], row["created_by_user_id"]) == ("completed", [1, 2, 3], 1)
        assert (row["settings"]["mode"], row["settings"]["extractor"]) == (written.mode, "ours:v2")
        assert broken_rules(rows).keys() <= {"migration_run_is_completed"}


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_the_caller_rolls_back_is_not_written(peopled: Database, rows: Connection, driver: str) -> None:
    async def work(knowledge: Knowledge, session: AsyncSession) -> None:
        await knowledge.write(RESULT, [1], 1, session)
        await session.rollback()

    within(peopled, driver, DUAL, work)
    assert rows_of(rows) == (0, 0, 0, 0)


@pytest.mark.parametrize("driver", DRIVERS)
def test_without_a_session_it_commits_by_itself(peopled: Database, rows: Connection, driver: str) -> None:
    within(peopled, driver, DUAL, lambda knowledge, session: knowledge.write(RESULT, [1, 2, 3], None))
    assert rows_of(rows) == WRITTEN["dual_write"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_failed_shadow_leaves_the_callers_transaction_alone(
    peopled: Database, rows: Connection, sql: sa.Connection, driver: str
) -> None:
    rows.execute("ALTER TABLE topic_proposals ADD CONSTRAINT a_test CHECK (false) NOT VALID")

    async def work(knowledge: Knowledge, session: AsyncSession) -> Written:
        written = await knowledge.write(RESULT, [1, 2, 3], 1, session)
        await session.execute(sa.text("INSERT INTO sources (name, type, is_active) VALUES ('after', 'api', true)"))
        return written

    assert within(peopled, driver, DUAL, work).shadow_failed
    assert rows_of(rows) == (2, 2, 0, 0)
    assert count(rows, "SELECT count(*) FROM sources WHERE name = 'after'") == 1
    assert rows.execute("SELECT sqlstate FROM migration.shadow_failure").fetchall() == [{"sqlstate": "23514"}]
    rows.execute("ALTER TABLE topic_proposals DROP CONSTRAINT a_test")
    assert repair_next(sql)
    sql.commit()
    assert rows_of(rows) == WRITTEN["dual_write"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_before_phase_1_and_after_its_rollback_it_writes_as_ever(
    database: Database, peopled: Database, driver: str
) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        within(database, driver, DIRECT, lambda knowledge, session: knowledge.write(RESULT, [1], 1, session))
        assert count(connection, "SELECT count(*) FROM topics") == 2

    async def work(knowledge: Knowledge, session: AsyncSession) -> Written:
        knowledge.watcher.flags = DUAL.model_copy(update={"version": 3})
        await session.execute(sa.text("SELECT 1"))
        written = await knowledge.write(RESULT, [1], 1, session)
        assert await session.scalar(sa.text("SELECT count(*) FROM topics")) == 2
        return written

    downgrade(peopled, SchemaChangeSettings(), to=None)
    assert within(peopled, driver, DIRECT, work).shadow_failed


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_triggers_capture_what_the_caller_writes_itself_and_not_what_is_written_here(
    peopled: Database, rows: Connection, driver: str
) -> None:
    capture.install(rows, SchemaChangeSettings())
    change_flags(peopled, DUAL.values)

    async def work(knowledge: Knowledge, session: AsyncSession) -> None:
        await knowledge.write(RESULT, [1, 2, 3], 1, session)
        await session.execute(sa.text("INSERT INTO topics (name, description) VALUES ('by hand', '')"))

    within(peopled, driver, DIRECT, work)
    assert rows_of(rows) == (3, 2, 4, 4)
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0
    assert count(rows, "SELECT sum(linked_rows)::int FROM migration.capture_log") == 1


def test_a_synchronous_application_reports_and_writes(peopled: Database, rows: Connection) -> None:
    options = ServiceOptions(database_url=peopled.url, initial_flags=DUAL, shadow_timeout_ms=30_000)
    with Knowledge(options).running_in_thread() as knowledge, peopled.engine() as engine:
        with Session(engine.execution_options(isolation_level="READ COMMITTED")) as session:
            knowledge.write_within(session, RESULT, [1, 2, 3], 1, extraction_seconds=4.0)
            session.commit()
        beat = f"SELECT count(*) FROM migration.writer_heartbeat WHERE process = '{knowledge.watcher.process}'"  # noqa: S608
        comes_true(lambda: count(rows, beat) == 1)
    assert rows_of(rows) == WRITTEN["dual_write"]
    assert count(rows, "SELECT count(*) FROM migration.writer_heartbeat") == 0
    measured = rows.execute("SELECT mode, requests, errors, log_seconds FROM migration.service_measurement").fetchall()
    assert [(one["mode"], one["requests"], one["errors"]) for one in measured] == [("dual_write", 1, 0)]
    assert measured[0]["log_seconds"] > 1.38  # ln 4: the model's time counts


def test_own_types_are_kept_and_references_to_other_messages_are_not(
    peopled: Database, rows: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    topic = {"name": "t", "description": "", "confidence": 0.9, "related_message_ids": [1, 99]}
    links = {"links_to_atom_titles": ["b", "c"], "link_types": ["extends"]}
    atoms = [{"type": "rumour", "title": title, "content": "", "topic_name": "t", "confidence": 0.9} for title in "abc"]
    result = {"topics": [topic], "atoms": [{**atoms[0], **links}, *atoms[1:]]}
    with caplog.at_level(logging.WARNING):
        within(peopled, "asyncpg", DUAL, lambda knowledge, session: knowledge.write(result, [1, 2], 1, session))
    assert "other" not in caplog.text
    assert "messages that it was not extracted from" in caplog.text
    assert count(rows, "SELECT count(*) FROM atoms WHERE type = 'rumour'") == 3
    assert [one["link_type"] for one in rows.execute("SELECT link_type FROM atom_links")] == ["extends"]
    assert [one["id"] for one in rows.execute("SELECT id FROM messages WHERE topic_id IS NOT NULL")] == [1]
    assert [one["message_ids"] for one in rows.execute("SELECT message_ids FROM topic_proposals")] == [[1]]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_refused_result_leaves_the_callers_transaction_alone(
    peopled: Database, rows: Connection, driver: str
) -> None:
    unsure = {"topics": [{"name": "secret", "description": "", "confidence": 1.5}]}

    async def work(knowledge: Knowledge, session: AsyncSession) -> None:
        with pytest.raises(InvalidError, match=r"topics\.0\.confidence") as refusal:
            await knowledge.write(unsure, [1], 1, session)
        assert "secret" not in str(refusal.value)
        with pytest.raises(UnknownError, match="no user 99"):
            await knowledge.write(RESULT, [1], 99, session)
        await session.execute(sa.text("INSERT INTO sources (name, type, is_active) VALUES ('after', 'api', true)"))

    within(peopled, driver, PROPOSAL, work)
    assert rows_of(rows) == (0, 0, 0, 0)
    assert count(rows, "SELECT count(*) FROM sources WHERE name = 'after'") == 1


def test_a_full_queue_is_known_before_the_model_is_called_and_never_costs_a_result(
    peopled: Database, rows: Connection
) -> None:
    async def work(knowledge: Knowledge, session: AsyncSession) -> None:
        await knowledge.require_room([1], 1)
        await knowledge.write(RESULT, [1], 1)
        with pytest.raises(QueueFullError):
            await knowledge.require_room([1], 1)
        await knowledge.write(RESULT, [2], 1, session)

    within(peopled, "asyncpg", PROPOSAL, work, queue_limit=1)
    assert count(rows, "SELECT count(*) FROM topic_proposals") == 6


def test_an_application_loads_neither_dagster_nor_a_web_framework() -> None:
    code = (
        "import sys, knowledge_migration.knowledge.integration\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(', '.join(names & {'dagster', 'fastapi', 'nicegui', 'great_expectations', 'pandas'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
