"""Knowledge bases load whole or not at all, and leave a database that an application could go on with."""

from collections.abc import Iterable
from datetime import UTC, datetime

import psycopg
import pytest

from knowledge_migration.demo.loader import TABLES, build_legacy_schema, load
from knowledge_migration.demo.python_documentation import PythonDocumentation, Row
from knowledge_migration.engine.foundation.catalog import legacy_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.knowledge.tables import ATOM_TYPES, LINK_TYPES
from knowledge_migration_tests.conftest import SHARED_DATA
from knowledge_migration_tests.support.json_lines import JsonLinesFolder

MOMENT = datetime(2024, 5, 6, tzinfo=UTC)


class FewRows:
    """A knowledge base given as a dict."""

    def __init__(self, tables: dict[str, list[dict[str, object]]]) -> None:
        self.tables = tables

    def rows(self, table: str) -> Iterable[Row]:
        return self.tables.get(table, [])


def count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) AS n FROM {table}").fetchone()  # noqa: S608
    assert row
    return int(row["n"])


def test_the_python_documentation_holds_several_thousand_atoms_of_most_types(
    documentation: PythonDocumentation,
) -> None:
    atoms = list(documentation.rows("atoms"))
    assert len(atoms) > 3000
    assert {atom["type"] for atom in atoms} == set(ATOM_TYPES)
    assert {link["link_type"] for link in documentation.rows("atom_links")} <= set(LINK_TYPES)


def test_every_row_of_the_python_documentation_is_stored(
    documentation: PythonDocumentation, database: Database
) -> None:
    stored = load(database, documentation)
    with database.connect("test") as connection:
        for table in TABLES:
            assert count(connection, table) == stored[table] == len(list(documentation.rows(table)))
            assert stored[table] > 0


def test_new_rows_get_ids_beyond_those_that_were_loaded(database: Database, connection: Connection) -> None:
    load(database, FewRows({"topics": [{"id": 41, "name": "n", "description": ""}]}))
    row = connection.execute("INSERT INTO topics (name, description) VALUES ('m', '') RETURNING id").fetchone()
    assert row == {"id": 42}


def test_columns_that_a_row_does_not_name_take_the_default(database: Database, connection: Connection) -> None:
    topics = [
        {"id": 1, "name": "a", "description": "", "created_at": MOMENT},
        {"id": 2, "name": "b", "description": ""},
    ]
    load(database, FewRows({"topics": topics}))
    rows = connection.execute("SELECT created_at = %s AS given FROM topics ORDER BY id", (MOMENT,)).fetchall()
    assert [row["given"] for row in rows] == [True, False]


def test_json_null_and_sql_null_stay_apart(database: Database, connection: Connection) -> None:
    common = {"type": "insight", "title": "t", "content": "c", "user_approved": False}
    load(database, FewRows({"atoms": [{"id": 1, **common, "meta": {"a": [1]}}, {"id": 2, **common, "meta": None}]}))
    rows = connection.execute("SELECT meta::text FROM atoms ORDER BY id").fetchall()
    assert [row["meta"] for row in rows] == ['{"a": [1]}', None]


def test_a_load_that_fails_half_way_stores_nothing(database: Database, connection: Connection) -> None:
    broken = FewRows(
        {
            "topics": [{"id": 1, "name": "a", "description": ""}],
            "topic_atoms": [{"topic_id": 1, "atom_id": 99}],
        }
    )
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        load(database, broken)
    assert count(connection, "topics") == 0


def test_a_database_that_holds_rows_is_refused(database: Database, connection: Connection) -> None:
    connection.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 't', 'c', false)")
    with pytest.raises(MigrationError, match="atoms already holds rows"):
        load(database, FewRows({"topics": [{"id": 1, "name": "a", "description": ""}]}))
    assert count(connection, "topics") == 0


def test_the_legacy_schema_is_not_built_over_another(database: Database) -> None:
    with pytest.raises(MigrationError, match="has the tables"):
        build_legacy_schema(database)
    assert legacy_differences(database) == []


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real knowledge base is not on this machine")
def test_the_small_real_knowledge_base_is_stored_whole(database: Database) -> None:
    stored = load(database, JsonLinesFolder(SHARED_DATA / "small"))
    assert (stored["topics"], stored["atoms"], stored["topic_atoms"]) == (1826, 11771, 20917)
