"""Each integrity rule finds exactly the rows that break it, and none that only look so. Values: see test_rules_of_values."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import IsolationLevel

from knowledge_migration.engine.backfill import completion
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, broken_rules, fill

BOTH = pytest.mark.parametrize(("one", "table", "label"), [("topic", "topics", "name"), ("atom", "atoms", "title")])


@pytest.fixture(scope="module")
def backfilled(server: EmbeddedServer) -> Iterator[Database]:
    """A database that is backfilled and holds every rule."""
    database = clone(server, EXPANDED_TEMPLATE)
    fill(database)
    backfill(database)
    yield database
    drop(server, database)


@pytest.fixture
def migrated(backfilled: Database) -> Iterator[Connection]:
    """A session on it whose changes are taken back."""
    with backfilled.connect("test") as connection, connection.transaction(force_rollback=True):
        yield connection


def outcome(connection: Connection, name: str, sample: int = 20) -> CheckOutcome:
    """What the rule of that name says."""
    (rule,) = [rule for rule in rules.RULES if rule.name == name]
    return rules.evaluate(connection, rule, sample=sample)


def found(connection: Connection, name: str, column: str = "id") -> list[object]:
    """One column of all rows that break the rule, in order; the count must be theirs."""
    said = outcome(connection, name)
    assert said.count == len(said.sample)
    return sorted(row[column] for row in said.sample)


def unlink(connection: Connection, table: str, *ids: int) -> None:
    """Clears the links of these rows."""
    connection.execute(
        f"UPDATE {table} SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = ANY (%s)",  # noqa: S608
        (list(ids),),
    )


def drop_guards(connection: Connection, one: str) -> None:
    """Removes the constraints and indexes that would not let a rule be broken."""
    connection.execute(
        f"ALTER TABLE {one}s DROP CONSTRAINT {one}s_migrated_from_proposal_id_fkey;"
        f"ALTER TABLE {one}_proposals DROP CONSTRAINT {one}_proposals_extraction_run_id_fkey;"
        f"DROP INDEX idx_{one}s_migration"
    )


def test_every_rule_holds_after_a_backfill_of_dirty_data(migrated: Connection) -> None:
    assert broken_rules(migrated) == {}
    assert len({rule.name for rule in rules.RULES}) == len(rules.RULES) == 25


@BOTH
def test_rows_without_a_proposal_are_found_unless_that_is_accepted(
    migrated: Connection, one: str, table: str, label: str
) -> None:
    unlink(migrated, table, 1, 2, 3, 4)
    migrated.execute(
        "INSERT INTO migration.quarantine (entity, row_id, state, sqlstate, reason) "
        "VALUES (%(e)s, 2, 'open', 'x', ''), (%(e)s, 3, 'accepted', 'x', ''), (%(e)s, 4, 'retry', 'x', '')",
        {"e": one},
    )
    assert found(migrated, f"every_{one}_has_a_proposal") == [1, 2, 4]


def test_a_quarantine_of_the_other_table_excuses_nothing(migrated: Connection) -> None:
    unlink(migrated, "topics", 1)
    migrated.execute(
        "INSERT INTO migration.quarantine (entity, row_id, state, sqlstate, reason) VALUES ('atom', 1, 'accepted', 'x', '')"
    )
    assert found(migrated, "every_topic_has_a_proposal") == [1]


@pytest.mark.parametrize("sample", [0, 1, 5, 30, 31])
def test_the_count_is_exact_whatever_the_sample(migrated: Connection, sample: int) -> None:
    unlink(migrated, "atoms", *range(1, 31))
    said = outcome(migrated, "every_atom_has_a_proposal", sample)
    assert (said.count, len(said.sample), said.passed) == (30, min(sample, 30), False)


@BOTH
def test_links_that_lead_nowhere_are_found(migrated: Connection, one: str, table: str, label: str) -> None:
    drop_guards(migrated, one)
    migrated.execute(f"UPDATE {table} SET migrated_from_proposal_id = gen_random_uuid() WHERE id = 11")  # noqa: S608
    migrated.execute(f"DELETE FROM {one}_proposals WHERE {label} = '{one} 12'")  # noqa: S608
    assert found(migrated, f"{one}_links_name_existing_proposals") == [11, 12]


@BOTH
def test_a_proposal_that_serves_two_rows_is_found(migrated: Connection, one: str, table: str, label: str) -> None:
    drop_guards(migrated, one)
    migrated.execute(
        f"UPDATE {table} SET migrated_from_proposal_id = "  # noqa: S608
        f"(SELECT migrated_from_proposal_id FROM {table} WHERE id = 1) WHERE id IN (5, 12)"
    )
    (row,) = outcome(migrated, f"{one}_proposals_serve_one_row").sample
    assert (row["rows"], row["first_id"], row["last_id"]) == (3, 1, 12)
    assert found(migrated, f"backfilled_{one}_links_are_their_own") == [5, 12]


@BOTH
def test_links_that_were_exchanged_are_found_and_restored(expanded: Database, one: str, table: str, label: str) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        exchange(connection, table)
        assert broken_rules(connection).pop(f"backfilled_{one}_links_are_their_own") == 2
        unlink(connection, table, 1, 2)
        completion.complete(expanded, QUICK)
        assert broken_rules(connection) == {}


def exchange(migrated: Connection, table: str) -> None:
    """Gives the first two rows each other's proposal."""
    first, second = (
        row["id"]
        for row in migrated.execute(
            f"SELECT migrated_from_proposal_id AS id FROM {table} WHERE id IN (1, 2) ORDER BY {table}.id"  # noqa: S608
        )
    )
    unlink(migrated, table, 1, 2)
    for row_id, proposal in ((1, second), (2, first)):
        migrated.execute(
            f"UPDATE {table} SET migrated_from_proposal_id = %s, migration_timestamp = now() WHERE id = %s",  # noqa: S608
            (proposal, row_id),
        )


@BOTH
def test_a_link_without_its_time_and_a_time_without_a_link_are_found(
    migrated: Connection, one: str, table: str, label: str
) -> None:
    migrated.execute(f"UPDATE {table} SET migration_timestamp = NULL WHERE id = 13")  # noqa: S608
    migrated.execute(f"UPDATE {table} SET migrated_from_proposal_id = NULL WHERE id = 14")  # noqa: S608
    assert found(migrated, f"{one}_links_are_dated") == [13, 14]


@BOTH
def test_approved_proposals_that_lost_their_row_are_orphans_but_not_those_whose_row_was_deleted(
    migrated: Connection, one: str, table: str, label: str
) -> None:
    unlink(migrated, table, 4)
    migrated.execute(f"DELETE FROM topic_atoms WHERE {one}_id = 6; DELETE FROM {table} WHERE id = 6")  # noqa: S608
    assert found(migrated, f"no_approved_{one}_proposal_is_orphaned", "row_id") == [4]


def test_of_other_proposals_those_approved_without_a_row_are_orphans_unless_they_matched_one(
    migrated: Connection,
) -> None:
    kinds = [
        ("approved", "approved", "approve", None, None),
        ("automatic", "auto_approved", "auto_approve", None, None),
        ("dual", "auto_approved", "dual_write", None, None),
        ("alike only", "approved", "approve", 1, "meaning"),
        ("matched", "auto_approved", "dual_write", 1, "exact"),
        ("matched what a user deleted since", "auto_approved", "replay", None, "exact"),
        ("pending", "pending", None, None, None),
        ("rejected", "rejected", "reject", None, None),
    ]
    migrated.cursor().executemany(
        "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, status, review_action, "
        "similar_topic_id, similarity_type) "
        "SELECT id, %s, '', 0.9, %s, %s, %s, %s FROM knowledge_extraction_runs",
        kinds,
    )
    orphans = found(migrated, "no_approved_topic_proposal_is_orphaned", "label")
    assert orphans == ["alike only", "approved", "automatic", "dual"]


@BOTH
def test_proposals_without_a_run_are_found(migrated: Connection, one: str, table: str, label: str) -> None:
    drop_guards(migrated, one)
    migrated.execute(
        f"UPDATE {one}_proposals SET extraction_run_id = gen_random_uuid() WHERE {label} = '{one} 2'"  # noqa: S608
    )
    assert found(migrated, f"every_{one}_proposal_has_a_run", "label") == [f"{one} 2"]


@BOTH
def test_backfilled_proposals_that_are_not_approved_or_reviewed_too_early_are_found(
    migrated: Connection, one: str, table: str, label: str
) -> None:
    changes = {
        2: "status = 'pending', confidence = 0.5",
        3: "reviewed_at = created_at - interval '1 microsecond'",
        4: "reviewed_at = NULL",
        5: "status = 'rejected', review_action = 'reject', confidence = 0.5",
        6: "review_action = 'approve', confidence = 0.5",
    }
    for number, change in changes.items():
        migrated.execute(f"UPDATE {one}_proposals SET {change} WHERE {label} = '{one} {number}'")  # noqa: S608
    expected = [f"{one} {number}" for number in (2, 3, 4, 5)]
    assert found(migrated, f"backfilled_{one}_proposals_are_approved", "label") == expected


def test_a_backfilled_proposal_that_was_rejected_with_its_topic_is_no_breach(migrated: Connection) -> None:
    migrated.execute(
        "UPDATE topic_proposals SET status = 'rejected', review_action = 'undo', confidence = 0.5 WHERE name = 'topic 60'"
    )
    migrated.execute("DELETE FROM topic_atoms WHERE topic_id = 60; DELETE FROM topics WHERE id = 60")
    assert broken_rules(migrated).keys() == {"proposed_topics_match_relations"}


def test_relations_to_rows_that_do_not_exist_are_found_in_each_table(migrated: Connection) -> None:
    migrated.execute(
        "ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_topic_id_fkey, DROP CONSTRAINT topic_atoms_atom_id_fkey;"
        "ALTER TABLE atom_links DROP CONSTRAINT atom_links_from_atom_id_fkey, DROP CONSTRAINT atom_links_to_atom_id_fkey;"
        "ALTER TABLE messages DROP CONSTRAINT messages_topic_id_fkey, DROP CONSTRAINT messages_source_id_fkey, "
        "DROP CONSTRAINT messages_author_id_fkey;"
        "INSERT INTO topic_atoms (topic_id, atom_id) VALUES (9001, 1), (1, 9002);"
        "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (9003, 1, 'x'), (1, 9004, 'x'), (1, 2, 'x');"
        "INSERT INTO messages (id, external_message_id, content, sent_at, source_id, author_id, analyzed, topic_id) "
        "VALUES (7, 'x', '', now(), 1, 1, true, 9005), (8, 'y', '', now(), 1, 1, true, NULL), (9, 'z', '', now(), 1, 1, true, 1)"
    )
    said = outcome(migrated, "relations_point_at_existing_rows")
    assert sorted(tuple(row.values()) for row in said.sample) == [
        ("atom_links", 1, 9004), ("atom_links", 9003, 1), ("messages", 7, 9005), ("topic_atoms", 1, 9002),
        ("topic_atoms", 9001, 1),
    ]  # fmt: skip
    assert said.count == 5


def test_proposed_topics_that_are_not_the_atoms_warn_but_those_of_later_relations_do_not(migrated: Connection) -> None:
    for atom, topics in ((391, "'[1]'"), (392, "NULL"), (1, "'[]'")):
        migrated.execute(f"UPDATE atom_proposals SET proposed_topic_ids = {topics} WHERE title = 'atom {atom}'")  # noqa: S608
    migrated.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (1, 399)")
    assert found(migrated, "proposed_topics_match_relations") == [1, 391, 392]
    (rule,) = [rule for rule in rules.RULES if rule.name == "proposed_topics_match_relations"]
    assert rule.severity == "warn"


def test_quarantined_rows_wait_for_a_decision_unless_they_are_gone_or_linked(migrated: Connection) -> None:
    unlink(migrated, "topics", 1, 2, 3, 4)
    migrated.execute(
        "INSERT INTO migration.quarantine (entity, row_id, state, sqlstate, reason) VALUES "
        "('topic', 1, 'open', 'x', ''), ('topic', 2, 'retry', 'x', ''), ('topic', 3, 'accepted', 'x', ''), "
        "('topic', 4, 'resolved', 'x', ''), ('topic', 5, 'open', 'x', ''), ('topic', 9999, 'open', 'x', ''), "
        "('atom', 1, 'open', 'x', '')"
    )
    accepted = {"entity": "topic", "row_ids": [3]}
    audit.record(migrated, AuditAction("quarantine accept"), "topic 3", reason="a test", after=accepted)
    said = outcome(migrated, "quarantine_is_decided")
    assert sorted((row["entity"], row["row_id"]) for row in said.sample) == [("topic", 1), ("topic", 2)]


@pytest.mark.parametrize("status", ["running", "failed", "pending"])
def test_a_run_that_is_not_completed_is_found(migrated: Connection, status: str) -> None:
    migrated.execute("UPDATE knowledge_extraction_runs SET status = %s", (status,))
    assert found(migrated, "migration_run_is_completed", "status") == [status]


def test_a_run_that_never_began_is_found_and_no_other_stands_in_for_it(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count) VALUES (%s, 'completed', '[]', 0)",
            (UUID(int=5),),
        )
        assert found(connection, "migration_run_is_completed", "status") == ["never started"]


def test_a_rule_that_cannot_be_asked_raises(connection: Connection) -> None:
    connection.execute("DROP TABLE atom_links")
    for rule in rules.RULES:
        with pytest.raises(psycopg.errors.Error) as error:
            rules.evaluate(connection, rule)
        assert error.value.sqlstate in {"42P01", "42703", "42883", "3F000"}


def test_a_rule_that_may_not_be_asked_raises(migrated: Connection) -> None:
    migrated.execute("CREATE ROLE blind; SET LOCAL ROLE blind")
    for rule in rules.RULES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), migrated.transaction():
            rules.evaluate(migrated, rule)


def test_a_rule_asked_of_a_range_of_ids_sees_that_range_only(migrated: Connection) -> None:
    unlink(migrated, "atoms", 10, 11, 20, 21)
    (rule,) = [rule for rule in rules.RULES if rule.name == "every_atom_has_a_proposal"]
    said = rules.evaluate_range(migrated, rule, after_id=10, through_id=20, sample=5)
    assert (said.count, sorted(str(row["id"]) for row in said.sample)) == (2, ["11", "20"])
    assert "In ids 11 to 20" in said.sentence


def test_rules_can_be_asked_in_one_moment_and_write_nothing(backfilled: Database) -> None:
    with backfilled.connect("test") as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            assert broken_rules(connection) == {}
