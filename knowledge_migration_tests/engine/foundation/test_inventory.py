"""The inventory finds what foreign keys tie to topics and atoms, and counts it exactly."""

import json

import pytest

from knowledge_migration.engine.foundation import inventory
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.inventory import ForeignKey
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration_tests.engine.backup.legacy_rows import fill

LEGACY_TABLES = {
    "atoms",
    "atom_links",
    "messages",
    "sources",
    "telegram_profiles",
    "topic_atoms",
    "topics",
    "users",
}


@pytest.fixture
def filled(connection: Connection) -> Connection:
    fill(connection)
    return connection


def test_every_table_that_foreign_keys_reach_is_counted_exactly(any_database: Database) -> None:
    with any_database.connect() as connection:
        fill(connection)
        found = inventory.read(connection)
    assert found.rows == {
        "users": 1,
        "sources": 2,
        "telegram_profiles": 0,
        "topics": 3,
        "messages": 1,
        "atoms": 4,
        "topic_atoms": 2,
        "atom_links": 1,
    }


def test_parents_stand_before_the_tables_that_reference_them(filled: Connection) -> None:
    found = inventory.read(filled)
    place = {table.label: number for number, table in enumerate(found.tables)}
    assert all(place[key.referenced] < place[key.table] for table in found.tables for key in table.foreign_keys)


def test_tables_that_reference_each_other_or_themselves_are_listed_once(filled: Connection) -> None:
    filled.execute("CREATE TABLE revisions (id int PRIMARY KEY, topic_id bigint REFERENCES topics, previous int)")
    filled.execute("ALTER TABLE revisions ADD FOREIGN KEY (previous) REFERENCES revisions")
    filled.execute("ALTER TABLE topics ADD latest int REFERENCES revisions")
    labels = [table.label for table in inventory.read(filled).tables]
    assert sorted(labels) == sorted({*LEGACY_TABLES, "revisions"})


def test_a_users_own_table_is_found_through_any_number_of_steps_and_others_are_not(filled: Connection) -> None:
    filled.execute("CREATE SCHEMA app; CREATE TABLE app.tasks (id int PRIMARY KEY, topic_id bigint REFERENCES topics)")
    filled.execute("CREATE TABLE task_notes (task_id int REFERENCES app.tasks)")
    filled.execute("CREATE TABLE unrelated (id int)")
    labels = {table.label for table in inventory.read(filled).tables}
    assert labels == {*LEGACY_TABLES, "app.tasks", "task_notes"}


def test_tables_of_the_migration_neither_appear_nor_lead_further(filled: Connection) -> None:
    filled.execute("CREATE TABLE knowledge_extraction_runs (id uuid PRIMARY KEY, by_user bigint REFERENCES users)")
    filled.execute("CREATE TABLE topic_proposals (id uuid PRIMARY KEY, similar_topic_id bigint REFERENCES topics)")
    filled.execute("ALTER TABLE topics ADD migrated_from_proposal_id uuid REFERENCES topic_proposals")
    filled.execute("CREATE TABLE only_of_proposals (proposal_id uuid REFERENCES topic_proposals)")
    filled.execute("CREATE SCHEMA migration; CREATE TABLE migration.quarantine (topic_id bigint REFERENCES topics)")
    found = inventory.read(filled)
    assert {table.label for table in found.tables} == LEGACY_TABLES
    assert {key.referenced for table in found.tables for key in table.foreign_keys} <= LEGACY_TABLES


def test_ids_columns_and_foreign_keys_are_as_the_catalog_has_them(filled: Connection) -> None:
    filled.execute("CREATE TABLE tasks (topic_id bigint)")
    filled.execute(
        "ALTER TABLE tasks ADD CONSTRAINT tasks_topic FOREIGN KEY (topic_id) REFERENCES topics ON DELETE CASCADE NOT VALID"
    )
    tables = {table.label: table for table in inventory.read(filled).tables}
    assert (tables["topics"].lowest_id, tables["topics"].highest_id) == (1, 15000)
    assert (tables["topic_atoms"].lowest_id, tables["topic_atoms"].highest_id) == (None, None)
    assert {column.name: column.type for column in tables["atoms"].columns}["embedding"] == "vector(1536)"
    assert tables["tasks"].foreign_keys == (
        ForeignKey("tasks_topic", "tasks", ("topic_id",), "topics", ("id",), validated=False, on_delete="CASCADE"),
    )
    assert tables["atoms"].total_bytes == tables["atoms"].heap_bytes + tables["atoms"].index_bytes > 0


def test_a_partitioned_table_counts_once_with_the_sizes_of_its_partitions(filled: Connection) -> None:
    filled.execute("CREATE TABLE visits (id int, topic_id bigint REFERENCES topics) PARTITION BY RANGE (id)")
    filled.execute("CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (100)")
    filled.execute("INSERT INTO visits VALUES (7, 1), (8, 2)")
    tables = {table.label: table for table in inventory.read(filled).tables}
    assert set(tables) == {*LEGACY_TABLES, "visits"}
    assert (tables["visits"].rows, tables["visits"].lowest_id) == (2, 7)
    assert tables["visits"].heap_bytes > 0


def test_a_snapshot_does_not_count_what_is_written_later(database: Database, filled: Connection) -> None:
    with exported_snapshot(database) as snapshot:
        filled.execute("INSERT INTO topics (id, name, description) VALUES (3, 'later', '')")
        assert inventory.read(snapshot.connection).rows["topics"] == 3
    assert inventory.read(filled).rows["topics"] == 4


def test_a_snapshot_outlives_the_timeouts_of_its_role(database: Database) -> None:
    names = ("idle_in_transaction_session_timeout", "statement_timeout", "transaction_timeout")
    with exported_snapshot(database) as snapshot:
        values = [snapshot.connection.execute(f"SHOW {name}").fetchone() for name in names]
    assert [next(iter(value.values())) for value in values if value] == ["0", "0", "0"]


def test_a_database_without_the_legacy_tables_is_refused_by_name(database: Database, connection: Connection) -> None:
    connection.execute("DROP TABLE topic_atoms, atom_links, atoms")
    with pytest.raises(PreconditionError, match=r"has no table atoms in the search path of postgres"):
        inventory.read(connection)


def test_a_table_that_may_not_be_read_is_named_with_the_right_to_grant(database: Database, filled: Connection) -> None:
    filled.execute("CREATE ROLE inventory_reader LOGIN")
    filled.execute("GRANT SELECT ON users, sources, topics, atoms TO inventory_reader")
    try:
        with (
            Database(database.url.replace("postgres@", "inventory_reader@")).connect() as limited,
            pytest.raises(MigrationError, match=r"inventory_reader may not read every row of table .*pg_read_all"),
        ):
            inventory.read(limited)
    finally:
        filled.execute("DROP OWNED BY inventory_reader; DROP ROLE inventory_reader")


def test_it_becomes_json(filled: Connection) -> None:
    found = inventory.read(filled)
    evidence = json.loads(json.dumps(found.to_evidence()))
    assert {table["name"] for table in evidence["tables"]} == LEGACY_TABLES
