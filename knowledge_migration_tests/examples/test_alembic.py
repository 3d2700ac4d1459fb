"""The application's Alembic stays green: after phase 1 by the hook, after phase 5 by what the application declares."""

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from examples.tasktracker.models import Base
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema.upgrade import upgrade
from knowledge_migration.knowledge.alembic_hooks import adopt, include_object
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.examples.conftest import alembic

COLUMNS = """
SELECT attrelid::regclass::text AS table, attnum, attname, format_type(atttypid, atttypmod), attnotnull
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND relname <> 'alembic_version' ORDER BY 1, 2
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
CONSTRAINTS = """
SELECT conrelid::regclass::text AS table, pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2
"""


def differences(database: Database, metadata: sa.MetaData = Base.metadata, **options: Any) -> list[Any]:
    """What Alembic would generate."""
    with database.engine() as engine, engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


@pytest.fixture
def migrated(tasktracker: Database) -> Database:
    """After phase 1."""
    upgrade(tasktracker, SchemaChangeSettings())
    return tasktracker


def test_the_chain_of_the_example_creates_the_legacy_schema(rows: Connection, database: Database) -> None:
    with database.connect("test") as legacy:
        for query in (COLUMNS, INDEXES, CONSTRAINTS):
            assert rows.execute(query).fetchall() == legacy.execute(query).fetchall()


def test_alembic_check_of_the_example_is_green_after_phase_1_and_after_adoption(migrated: Database) -> None:
    for variables in ({}, {"TASKTRACKER_ADOPTED": "true"}):
        checked = alembic(migrated, "check", **variables)
        assert (checked.returncode, "No new upgrade operations" in checked.stdout) == (0, True), checked.stderr


def test_without_the_hook_alembic_would_remove_what_phase_1_created(migrated: Database) -> None:
    assert {one[0] for one in differences(migrated) if isinstance(one, tuple)} == {
        "remove_table",
        "remove_index",
        "remove_column",
        "remove_fk",
    }
    assert differences(migrated, include_object=include_object) == []
    assert differences(migrated, include_object=include_object, include_schemas=True) == []


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        ("DROP INDEX ix_atoms_title", "add_index"),
        ("CREATE INDEX idx_of_theirs ON topics (icon)", "remove_index"),
        ("ALTER TABLE atoms ADD COLUMN theirs text", "remove_column"),
        ("CREATE TABLE theirs (id int PRIMARY KEY)", "remove_table"),
        ("ALTER TABLE messages DROP CONSTRAINT messages_topic_id_fkey", "add_fk"),
    ],
)
def test_the_hook_hides_no_difference_of_the_application(
    migrated: Database, rows: Connection, statement: str, operation: str
) -> None:
    rows.execute(statement)
    assert [one[0] for one in differences(migrated, include_object=include_object)] == [operation]


def test_what_the_application_adopts_is_what_phase_1_created(migrated: Database, rows: Connection) -> None:
    metadata = sa.MetaData()
    for table in Base.metadata.tables.values():
        table.to_metadata(metadata)
    adopt(metadata)
    assert differences(migrated, metadata) == []
    assert differences(migrated, metadata, include_object=include_object) == []
    rows.execute("DROP INDEX idx_topics_migration; ALTER TABLE atom_proposals DROP COLUMN reasoning")
    assert {one[0] for one in differences(migrated, metadata, include_object=include_object)} == {
        "add_index",
        "add_column",
    }
