"""Sessions of the engine and of the service are the same whatever a database, a role or a URL sets."""

import asyncio

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.transactions import ServiceDatabase
from knowledge_migration.session_settings import NO_TIMEOUTS, TEXT
from knowledge_migration_tests.support.roles import run

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


def test_a_session_of_the_service_has_our_settings(strange: Database) -> None:
    database = ServiceDatabase(ServiceOptions(database_url=strange.url))

    def read(connection: sa.Connection) -> tuple[dict[str, str], int]:
        settings = dict(connection.exec_driver_sql(SETTINGS).fetchall())
        return settings, connection.exec_driver_sql("SELECT count(id) FROM topics").scalar_one()

    async def ask() -> tuple[dict[str, str], int]:
        try:
            return await database.in_transaction(read)
        finally:
            await database.engine.dispose()

    found, topics = asyncio.run(ask())
    assert written(found, dict(TEXT)) == TEXT
    assert topics == 0
