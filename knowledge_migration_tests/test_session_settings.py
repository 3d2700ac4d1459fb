"""Sessions of the engine and of the service are the same whatever a database, a role or a URL sets."""

import asyncio
from collections.abc import Callable
from datetime import UTC
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.transactions import ServiceDatabase
from knowledge_migration.session_settings import NO_TIMEOUTS, TEXT
from knowledge_migration.value_loaders import EARLIEST, LATEST, JsonText
from knowledge_migration_tests.support.roles import run

T = TypeVar("T")

STRANGE = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "timezone": "Asia/Tokyo",
    "statement_timeout": "3s",
    "lock_timeout": "3s",
    "idle_session_timeout": "3s",
    "search_path": "private, public",
}
SETTINGS = "SELECT name, setting FROM pg_settings"


@pytest.fixture
def strange(any_database: Database) -> Database:
    """A database with settings that change how values are written, and where names are found."""
    with any_database.connect("test") as connection:
        connection.execute("CREATE SCHEMA private; CREATE TABLE private.topics (name text)")
        for name, value in STRANGE.items():
            quoted = value if name == "search_path" else f"'{value}'"
            run(connection, f"ALTER DATABASE {{}} SET {name} = {quoted}", connection.info.dbname)
        if connection.info.server_version >= 170_000:
            run(connection, "ALTER DATABASE {} SET transaction_timeout = '3s'", connection.info.dbname)
    return any_database


def written(settings: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    return {name: settings[{name.lower(): name for name in settings}[name.lower()]] for name in names}


def in_service(database: Database, work: Callable[[sa.Connection], T]) -> T:
    """The result of some work in a session of the service."""
    service = ServiceDatabase(ServiceOptions(database_url=database.url))

    async def ask() -> T:
        try:
            return await service.in_transaction(work)
        finally:
            await service.engine.dispose()

    return asyncio.run(ask())


def of_engine(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["setting"] for row in connection.execute(SETTINGS)}


def test_a_session_of_the_engine_has_our_settings(strange: Database) -> None:
    with strange.connect("test") as connection:
        found = of_engine(connection)
        row = connection.execute("SELECT 'topics'::regclass = 'public.topics'::regclass AS ours").fetchone()
    with strange.engine() as engine, engine.connect() as opened:
        by_alchemy = dict(opened.exec_driver_sql(SETTINGS).fetchall())
        assert len(sa.inspect(opened).get_columns("topics")) > 5
    expected = {name: value for name, value in {**TEXT, **NO_TIMEOUTS}.items() if name != "transaction_timeout"}
    assert written(found, expected) == expected
    assert written(by_alchemy, expected) == expected
    assert found.get("transaction_timeout", "0") == "0"
    assert row == {"ours": True}
    assert found["search_path"] == "public, private, public"  # triggers of the user still find their schema


def test_the_engine_of_a_database_is_kept_by_its_settings(database: Database) -> None:
    with database.engine() as one, Database(database.url).engine() as again, database.engine(pooled=True) as pooled:
        assert one is again
        assert one is not pooled
    with database.engine(settings={"work_mem": "1MB"}) as other:
        assert other is not one


def test_a_session_of_the_service_has_our_settings(strange: Database) -> None:
    def read(connection: sa.Connection) -> tuple[dict[str, str], int]:
        settings = dict(connection.exec_driver_sql(SETTINGS).fetchall())
        return settings, connection.exec_driver_sql("SELECT count(id) FROM topics").scalar_one()

    found, topics = in_service(strange, read)
    assert written(found, dict(TEXT)) == TEXT
    assert topics == 0


EXTREMES = r"""
SELECT ARRAY['infinity', '294276-12-31']::timestamptz[] AS late, ARRAY['-infinity', '4713-01-01 BC']::timestamp[] AS early,
       'infinity'::date AS date, (repeat('[', 1500) || repeat(']', 1500))::json AS deep, '{"n": 1e400}'::json AS large,
       '"\ud83d"'::json AS half, ('{"digits": ' || repeat('9', 5000) || '}')::jsonb AS long, '[1, 2.5]'::jsonb AS plain
"""
LOADED = {
    "late": [LATEST.replace(tzinfo=UTC)] * 2,
    "early": [EARLIEST] * 2,
    "date": LATEST.date(),
    "deep": JsonText("[" * 1500 + "]" * 1500),
    "large": JsonText('{"n": 1e400}'),
    "half": JsonText(r'"\ud83d"'),
    "long": JsonText(f'{{"digits": {"9" * 5000}}}'),
    "plain": [1, 2.5],
}


def test_a_value_that_python_cannot_represent_is_loaded_as_the_nearest_time_or_as_text(any_database: Database) -> None:
    def by_alchemy(connection: sa.Connection) -> dict[str, Any]:
        return dict(connection.exec_driver_sql(EXTREMES).mappings().one())

    with any_database.connect("test") as connection:
        assert connection.execute(EXTREMES).fetchone() == LOADED
    with any_database.begin() as opened:
        assert by_alchemy(opened) == LOADED
    assert in_service(any_database, by_alchemy) == LOADED


def test_json_that_was_loaded_as_text_is_written_back_unchanged(any_database: Database) -> None:
    def write(connection: sa.Connection) -> tuple[bool, ...]:
        kept = (
            sa.literal(LOADED[name], JSONB) == sa.literal_column(f"loaded.{name}").cast(JSONB)
            for name in ("deep", "large")
        )
        return tuple(connection.execute(sa.select(*kept).select_from(sa.text(f"({EXTREMES}) AS loaded"))).one())

    with any_database.begin() as opened:
        assert write(opened) == (True, True)
    assert in_service(any_database, write) == (True, True)
