"""Each integrity rule finds exactly the rows that break it, and none that only look so."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import IsolationLevel

from knowledge_migration.engine import rules
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.errors import VerificationError
from knowledge_migration.engine.outcome import CheckOutcome
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, fill


@pytest.fixture
def migrated(expanded: Database) -> Iterator[Connection]:
    """A session on a database that is backfilled and holds every rule."""
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        yield connection


def outcome(connection: Connection, name: str, sample: int = 20) -> CheckOutcome:
    (rule,) = [rule for rule in rules.RULES if rule.name == name]
    return rules.evaluate(connection, rule, sample=sample)


def drop_guards(connection: Connection) -> None:
    """Removes the constraints and indexes that would not let a rule be broken."""
    connection.execute(
        "ALTER TABLE topics DROP CONSTRAINT topics_migrated_from_proposal_id_fkey;"
        "ALTER TABLE topic_proposals DROP CONSTRAINT topic_proposals_extraction_run_id_fkey;"
        "DROP INDEX idx_topics_migration"
    )


def test_all_rules_hold_after_a_backfill(migrated: Connection) -> None:
    assert broken_rules(migrated) == {}


def test_a_row_without_a_proposal_is_found(migrated: Connection) -> None:
    migrated.execute("INSERT INTO topics (id, name, description) VALUES (777, 'direct', '')")
    found = outcome(migrated, "every_topic_has_a_proposal")
    assert (found.count, [row["id"] for row in found.sample]) == (1, [777])


def test_the_count_is_exact_when_the_sample_is_smaller(migrated: Connection) -> None:
    migrated.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id <= 30")
    found = outcome(migrated, "every_atom_has_a_proposal", sample=5)
    assert (found.count, len(found.sample)) == (30, 5)


def test_approved_proposals_that_lost_their_row_are_orphans_but_not_those_whose_row_was_deleted(
    migrated: Connection,
) -> None:
    migrated.execute("UPDATE topics SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 4")
    migrated.execute("DELETE FROM topic_atoms WHERE topic_id = 6; DELETE FROM topics WHERE id = 6")
    found = outcome(migrated, "no_approved_topic_proposal_is_orphaned")
    assert [row["row_id"] for row in found.sample] == [4]


def test_a_proposal_that_matched_an_existing_topic_is_no_orphan(migrated: Connection) -> None:
    migrated.execute(
        "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, status, similar_topic_id, "
        "similarity_type, similarity_score) SELECT id, 'topic 1', '', 0.9, 'auto_approved', 1, 'exact', 1 "
        "FROM knowledge_extraction_runs"
    )
    assert outcome(migrated, "no_approved_topic_proposal_is_orphaned").passed


def test_links_that_lead_nowhere_and_shared_and_undated_ones_are_found(migrated: Connection) -> None:
    drop_guards(migrated)
    migrated.execute("UPDATE topics SET migrated_from_proposal_id = gen_random_uuid() WHERE id = 11")
    migrated.execute(
        "UPDATE topics SET migrated_from_proposal_id = (SELECT migrated_from_proposal_id FROM topics WHERE id = 1) WHERE id = 12"
    )
    migrated.execute("UPDATE topics SET migration_timestamp = NULL WHERE id = 13")
    assert [row["id"] for row in outcome(migrated, "topic_links_name_existing_proposals").sample] == [11]
    shared = outcome(migrated, "topic_proposals_serve_one_row").sample
    assert [(row["first_id"], row["last_id"], row["rows"]) for row in shared] == [(1, 12, 2)]
    assert [row["id"] for row in outcome(migrated, "topic_links_are_dated").sample] == [13]


def test_proposals_without_a_run_are_found(migrated: Connection) -> None:
    drop_guards(migrated)
    migrated.execute("UPDATE topic_proposals SET extraction_run_id = gen_random_uuid() WHERE name = 'topic 2'")
    assert [row["label"] for row in outcome(migrated, "every_topic_proposal_has_a_run").sample] == ["topic 2"]


def test_backfilled_proposals_that_are_not_approved_or_reviewed_too_early_are_found(migrated: Connection) -> None:
    migrated.execute("UPDATE topic_proposals SET status = 'pending' WHERE name = 'topic 2'")
    migrated.execute("UPDATE topic_proposals SET reviewed_at = created_at - interval '1 day' WHERE name = 'topic 3'")
    found = outcome(migrated, "backfilled_topic_proposals_are_approved")
    assert {row["label"] for row in found.sample} == {"topic 2", "topic 3"}


def test_a_stale_copy_is_found_although_the_row_was_edited_before_the_link(expanded: Database) -> None:
    """The strategy's loop: it reads, a user edits, it writes the values it had read (ERRATA F9)."""
    with expanded.connect("migration") as migration, expanded.connect("user") as user:
        user.execute("INSERT INTO topics (id, name, description) VALUES (1, 'topic 1', 'old')")
        backfill(expanded)
        user.execute("UPDATE topics SET migrated_from_proposal_id = NULL, migration_timestamp = NULL")
        user.execute("UPDATE topics SET name = 'EDITED BY USER', updated_at = clock_timestamp()")
        with migration.transaction():
            migration.execute("UPDATE topic_proposals SET name = 'topic 1'")
            migration.execute(
                "UPDATE topics SET migrated_from_proposal_id = (SELECT id FROM topic_proposals), migration_timestamp = now()"
            )
        found = outcome(user, "topic_proposal_values_equal_the_entity")
        assert [(row["id"], row["differing_columns"]) for row in found.sample] == [(1, "name")]


def test_a_row_that_a_user_edited_after_its_link_is_not_reported(migrated: Connection) -> None:
    migrated.execute("UPDATE atoms SET title = 'edited', updated_at = clock_timestamp() WHERE id = 3")
    migrated.execute("UPDATE atoms SET title = 'edited without a stamp' WHERE id = 4")
    assert outcome(migrated, "atom_proposal_values_equal_the_entity").passed


def test_null_and_zero_are_told_apart_in_the_value_comparison(migrated: Connection) -> None:
    with migrated.transaction():
        migrated.execute("UPDATE atoms SET user_approved = user_approved WHERE id IN (1, 4)")
        migrated.execute(
            "UPDATE atom_proposals SET confidence = CASE WHEN confidence IS NULL THEN 1.0 ELSE NULL END "
            "WHERE id IN (SELECT migrated_from_proposal_id FROM atoms WHERE id IN (1, 4))"
        )
    found = outcome(migrated, "atom_proposal_values_equal_the_entity")
    assert {row["id"]: row["differing_columns"] for row in found.sample} == {1: "confidence", 4: "confidence"}


def test_a_comparison_that_can_judge_no_pair_is_an_error_not_a_pass(migrated: Connection) -> None:
    migrated.execute("UPDATE topics SET name = name")
    with pytest.raises(VerificationError, match="None of the 60 linked rows of topics can be compared"):
        outcome(migrated, "topic_proposal_values_equal_the_entity")


def test_relations_to_rows_that_do_not_exist_are_found(migrated: Connection) -> None:
    migrated.execute(
        "ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_topic_id_fkey;"
        "INSERT INTO topic_atoms (topic_id, atom_id) VALUES (9999, 1)"
    )
    found = outcome(migrated, "relations_point_at_existing_rows")
    assert [tuple(row.values()) for row in found.sample] == [("topic_atoms", 9999, 1)]


def test_wrong_topics_of_a_proposal_warn(migrated: Connection) -> None:
    migrated.execute(
        "UPDATE atom_proposals SET proposed_topic_ids = '[1]' "
        "WHERE id = (SELECT migrated_from_proposal_id FROM atoms WHERE id = 395)"
    )
    assert [row["id"] for row in outcome(migrated, "proposed_topics_match_relations").sample] == [395]


def test_a_run_that_is_not_completed_is_found(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        assert [row["status"] for row in outcome(connection, "migration_run_is_completed").sample] == ["never begun"]


def test_a_rule_that_cannot_be_asked_raises(database: Database) -> None:
    with database.connect("test") as connection:
        for rule in rules.RULES:
            if rule.name != "relations_point_at_existing_rows":
                with pytest.raises(psycopg.errors.Error):
                    rules.evaluate(connection, rule)


def test_a_rule_sees_one_moment(migrated: Connection) -> None:
    migrated.isolation_level = IsolationLevel.REPEATABLE_READ
    with migrated.transaction():
        assert broken_rules(migrated) == {}
