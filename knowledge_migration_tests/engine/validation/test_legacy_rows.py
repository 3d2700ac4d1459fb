"""Rows that are gone, altered without a stamp, and written since the fingerprint are told apart, with counts and shares."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation import legacy_rows
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge.entities import change_entity, delete_atom
from knowledge_migration.knowledge.entity_kinds import ATOM
from knowledge_migration.knowledge.values import HIGHEST_ID, LOWEST_ID
from knowledge_migration.settings import SchemaChangeSettings, ValidationSettings
from knowledge_migration_tests.conftest import clone, cloned, drop
from knowledge_migration_tests.engine.backfill.backfilling import backfill, count, fill
from knowledge_migration_tests.support.fingerprinted import take_fingerprint

EMBEDDING = "(SELECT ('[' || string_agg(n::text, ',') || ']')::vector(1536) FROM generate_series(1, 1536) AS n)"
FILED_BY_ATOM_7 = 3
FILED = "SELECT count(*) AS n FROM topic_atoms WHERE atom_id <= 300"


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[Database]:
    """A backfilled database with the fingerprint of before, in ranges of 100 ids."""
    database = clone(server)
    fill(database)
    schema.prepare_evidence(database, SchemaChangeSettings())
    take_fingerprint(database, range_ids=100)
    schema.upgrade(database, SchemaChangeSettings())
    backfill(database)
    yield database
    drop(server, database)


@pytest.fixture
def migrated(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    with cloned(server, template.name) as copy:
        yield copy


@pytest.fixture
def rows(migrated: Database) -> Iterator[Connection]:
    with migrated.connect("test") as connection:
        yield connection


def outcome(connection: Connection, **limits: float) -> CheckOutcome:
    return legacy_rows.outcome(connection, ValidationSettings(**limits))


def of(found: CheckOutcome, table: str) -> dict[str, object]:
    (row,) = [row for row in found.sample if row["table"] == table]
    return row


def test_a_backfill_leaves_every_row_as_the_fingerprint_has_it(rows: Connection) -> None:
    found = outcome(rows)
    assert found.passed
    assert {row["table"] for row in found.sample} == {"topics", "atoms", "topic_atoms", "atom_links"}
    assert found.numbers["atoms"] == "atoms: of 400 rows all are unchanged."


def test_atoms_that_are_deleted_by_sql_are_an_error_above_the_limit(rows: Connection) -> None:
    rows.execute("DELETE FROM topic_atoms")
    rows.execute("DELETE FROM atoms")
    found = outcome(rows)
    assert of(found, "atoms") | {"gone": 400, "gone, share": "100 %", "first ids": "1, 2, 3, 4, 5"} == of(
        found, "atoms"
    )
    assert found.count == 400 + of(found, "topic_atoms")["rows of the fingerprint"]  # type: ignore[operator]
    assert "atoms: of 400 rows 400 (100 %) gone." in found.sentence
    assert outcome(rows, legacy_rows_max_gone_percent=100).passed


def test_a_few_deletions_of_unknown_origin_are_counted_and_stay_below_the_limit(rows: Connection) -> None:
    rows.execute("DELETE FROM atoms WHERE id BETWEEN 391 AND 394")
    found = outcome(rows)
    assert found.passed
    assert of(found, "atoms")["gone"] == 4
    rows.execute("DELETE FROM atoms WHERE id = 395")
    assert outcome(rows).count == 5


@pytest.mark.parametrize(
    "change",
    [
        "content = 'altered'",
        f"embedding = {EMBEDDING}",
        "user_approved = NOT user_approved",
        "created_at = '2001-01-01'",
        "updated_at = '2001-01-01'",
        "updated_at = NULL",
    ],
)
def test_a_row_altered_without_a_later_stamp_is_an_error(rows: Connection, change: str) -> None:
    rows.execute(f"UPDATE atoms SET {change} WHERE id IN (7, 350)".encode())  # noqa: S608
    found = outcome(rows)
    assert found.count == 2
    assert of(found, "atoms")["altered without a stamp"] == 2
    assert of(found, "atoms")["first ids"] == "7, 350"
    assert outcome(rows, legacy_rows_max_altered_percent=1).passed


def test_rows_that_users_wrote_are_no_alteration(rows: Connection) -> None:
    rows.execute("UPDATE atoms SET content = 'edited', updated_at = now() WHERE id <= 300")
    rows.execute("INSERT INTO topics (name, description) SELECT 'new ' || n, '' FROM generate_series(1, 30) AS n")
    found = outcome(rows)
    assert found.passed
    assert of(found, "atoms")["written since"] == 300
    assert of(found, "topics")["added"] == 30


def test_edits_and_deletions_through_the_service_are_explained(migrated: Database, rows: Connection) -> None:
    filed = count(rows, FILED)
    with migrated.begin() as transaction:
        for atom_id in range(1, 301):
            delete_atom(transaction, atom_id, actor="a user")
        change_entity(transaction, ATOM, 350, {"content": "edited"})
    found = outcome(rows)
    assert found.passed, found.sentence
    assert of(found, "atoms")["deleted by the service"] == 300
    assert (of(found, "atoms")["gone"], of(found, "topic_atoms")["gone"]) == (0, 0)
    assert of(found, "topic_atoms")["deleted by the service"] == filed
    assert of(found, "atoms")["written since"] == 1


def test_a_deletion_is_recorded_with_the_keys_of_its_rows(migrated: Database, rows: Connection) -> None:
    with migrated.begin() as transaction:
        delete_atom(transaction, 7, actor="a user")
    entry = rows.execute("SELECT * FROM migration.audit_log WHERE action = 'delete row'").fetchone()
    assert entry
    assert (entry["subject"], entry["actor"], entry["before"]["removed"]["atoms"]) == ("atom 7", "a user", [{"id": 7}])
    assert len(entry["before"]["removed"]["topic_atoms"]) == FILED_BY_ATOM_7
    with migrated.begin() as transaction:
        delete_atom(transaction, 8, actor="a user")
        transaction.rollback()
    assert [
        row["subject"] for row in rows.execute("SELECT subject FROM migration.audit_log WHERE action = 'delete row'")
    ] == ["atom 7"]


@pytest.mark.parametrize("statement", ["SELECT 1", "CREATE SCHEMA migration; CREATE TABLE migration.audit_log ()"])
def test_users_delete_where_there_is_no_audit_log_to_write(
    database: Database, connection: Connection, statement: str
) -> None:
    fill(database)
    connection.execute(statement)  # type: ignore[arg-type]
    with database.begin() as transaction:
        delete_atom(transaction, 7, actor="a user")
        assert transaction.execute(sa.text("SELECT count(*) FROM atoms")).scalar_one() == 399


def test_a_new_fingerprint_does_not_hide_a_loss(rows: Connection) -> None:
    legacy_rows.refuse_to_replace(rows, ValidationSettings())
    rows.execute("UPDATE atoms SET content = 'altered' WHERE id = 7")
    with pytest.raises(VerificationError, match=r"would hide what was lost.* atoms: of 400 rows 1 \(0.25 %\) altered"):
        legacy_rows.refuse_to_replace(rows, ValidationSettings())
    legacy_rows.refuse_to_replace(rows, ValidationSettings(legacy_rows_max_altered_percent=1))
    rows.execute("ALTER TABLE atoms DROP COLUMN embedding")
    legacy_rows.refuse_to_replace(rows, ValidationSettings())
    rows.execute("DROP TABLE atom_links")
    with pytest.raises(VerificationError, match="atom_links of the fingerprint does not exist any more"):
        legacy_rows.refuse_to_replace(rows, ValidationSettings())


def test_a_fingerprint_without_its_rows_or_columns_is_an_error(rows: Connection) -> None:
    rows.execute("UPDATE atoms SET content = 'edited', updated_at = now() WHERE id = 7")
    assert outcome(rows).passed
    rows.execute("DELETE FROM migration.legacy_rows WHERE table_name = 'atoms'")
    with pytest.raises(PreconditionError, match="were not kept"):
        outcome(rows)
    rows.execute("ALTER TABLE atoms DROP COLUMN embedding")
    with pytest.raises(PreconditionError, match="column embedding changed since"):
        outcome(rows)


def test_rows_at_the_ends_of_bigint_are_remembered_and_compared(migrated: Database, rows: Connection) -> None:
    for number in (LOWEST_ID, HIGHEST_ID):
        rows.execute("INSERT INTO topics (id, name, description) VALUES (%s, %s, '')", [number, f"topic {number}"])
    take_fingerprint(migrated)
    assert of(outcome(rows), "topics")["rows of the fingerprint"] == 62
    rows.execute("UPDATE topics SET description = 'altered' WHERE id = %s", [HIGHEST_ID])
    assert of(outcome(rows), "topics")["first ids"] == str(HIGHEST_ID)
