"""Whatever a row holds that a proposal cannot, exactly that row is set aside, wherever in a batch it stands."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.backfill import completion
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.quarantine import decide, quarantined
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.errors import MigrationError
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    fill,
    legacy_values,
)

ATOMS = Partition("atom", "000000000001-000000000500", 0, 500)

ATOM_POISON = {
    "a confidence above 1": ("UPDATE atoms SET confidence = 1.5 WHERE id = 77", "23514"),
    "a confidence below 0": ("UPDATE atoms SET confidence = -0.1 WHERE id = 77", "23514"),
    "a confidence that is no number": ("UPDATE atoms SET confidence = 'NaN' WHERE id = 77", "23514"),
    "an infinite confidence": ("UPDATE atoms SET confidence = '-Infinity' WHERE id = 77", "23514"),
    "a zero character in meta": ("""UPDATE atoms SET meta = '{"a": "\\u0000"}' WHERE id = 77""", "22P05"),
    "half a surrogate pair in meta": ("""UPDATE atoms SET meta = '{"a": "\\ud83d"}' WHERE id = 77""", "22P02"),
    "a number that overflows in meta": ("""UPDATE atoms SET meta = '{"a": 1e400000}' WHERE id = 77""", "22003"),
    "a meta nested deeper than the server's stack": (
        "SET max_stack_depth = '7MB'; UPDATE atoms SET meta = (repeat('[', 30000) || repeat(']', 30000))::json WHERE id = 77",
        "54001",
    ),
    "a title wider than the proposal's": (
        "ALTER TABLE atoms ALTER title TYPE text; UPDATE atoms SET title = repeat('ü', 201) WHERE id = 77",
        "22001",
    ),
    "a type wider than the proposal's": (
        "ALTER TABLE atoms ALTER type TYPE text; UPDATE atoms SET type = repeat('x', 21) WHERE id = 77",
        "22001",
    ),
    "no content": (
        "ALTER TABLE atoms ALTER content DROP NOT NULL; UPDATE atoms SET content = NULL WHERE id = 77",
        "23502",
    ),
    "a guard of the user's that refuses its change": (
        "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'atom % is under legal hold', NEW.id; END $$;"
        "CREATE TRIGGER guard BEFORE UPDATE ON atoms FOR EACH ROW WHEN (NEW.id = 77) EXECUTE FUNCTION guard()",
        "P0001",
    ),
    "an origin that another row claims": (
        "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (gen_random_uuid(), '[]', 0);"
        "INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, confidence) "
        "SELECT migration.origin_proposal_id('atoms', 77), id, 'insight', 'x', '', 1 FROM knowledge_extraction_runs;"
        "UPDATE atoms SET migrated_from_proposal_id = migration.origin_proposal_id('atoms', 77), migration_timestamp = now() "
        "WHERE id = 78",
        "23505",
    ),
}


@pytest.fixture
def session(expanded: Database) -> Iterator[Connection]:
    """A session on a database after phase 1, with topics and atoms."""
    fill(expanded)
    with expanded.connect("test") as connection:
        yield connection


def set_aside(connection: Connection) -> dict[int, str]:
    """Rows in quarantine and their SQLSTATE."""
    return {row["row_id"]: row["sqlstate"] for row in quarantined(connection, "open")}


def unlinked(connection: Connection) -> set[int]:
    """Atoms without a proposal."""
    return {row["id"] for row in connection.execute("SELECT id FROM atoms WHERE migrated_from_proposal_id IS NULL")}


@pytest.mark.parametrize("poison", ATOM_POISON)
def test_the_row_is_set_aside_and_all_others_are_migrated(expanded: Database, session: Connection, poison: str) -> None:
    statement, sqlstate = ATOM_POISON[poison]
    session.execute(statement)
    before = legacy_values(session)
    result = backfill_partition(expanded, ATOMS, QUICK)
    assert set_aside(session) == {77: sqlstate}
    assert unlinked(session) == {77}
    assert (result.quarantined_rows, result.remaining) == (1, 0)
    assert legacy_values(session) == before


def test_topics_are_set_aside_alike(expanded: Database, session: Connection) -> None:
    session.execute(
        "ALTER TABLE topics ALTER description DROP NOT NULL, ALTER color TYPE text;"
        "UPDATE topics SET description = NULL WHERE id = 1; UPDATE topics SET color = 'dark emerald' WHERE id = 60"
    )
    backfill(expanded)
    assert set_aside(session) == {1: "23502", 60: "22001"}
    assert broken_rules(session) == {"every_topic_has_a_proposal": 2, "quarantine_is_decided": 2}


@pytest.mark.parametrize(
    "ids",
    [[1], [400], [50, 51], [1, 50, 100, 400], [98, 99, 100, 101, 102, 103], list(range(120, 190)), [2, 4, 6, 8, 10]],
    ids=["first", "last", "both sides of a batch", "batch ends", "adjacent", "more than a batch", "every second"],
)
def test_many_rows_are_set_aside_wherever_they_stand(expanded: Database, session: Connection, ids: list[int]) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id = ANY (%s)", (ids,))
    backfill_partition(expanded, ATOMS, QUICK)
    assert set(set_aside(session)) == unlinked(session) == set(ids)


def test_a_table_of_nothing_but_poison_ends_too(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET confidence = 2; DELETE FROM topic_atoms; DELETE FROM atoms WHERE id > 40")
    result = backfill_partition(expanded, ATOMS, QUICK)
    assert (result.linked_rows, result.quarantined_rows, result.remaining) == (0, 40, 0)


def test_the_reason_holds_no_value_of_the_row(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET confidence = 2, content = 'a secret' WHERE id = 9")
    backfill_partition(expanded, ATOMS, QUICK)
    (row,) = quarantined(session)
    assert "valid_confidence" in row["reason"]
    assert "secret" not in row["reason"]


def test_rows_set_aside_are_not_tried_again_until_somebody_decides(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id IN (5, 6)")
    backfill(expanded)
    found_at = [row["found_at"] for row in quarantined(session)]
    session.execute("UPDATE atoms SET confidence = 1 WHERE id = 5")
    result = backfill_partition(expanded, ATOMS, QUICK)
    assert (result.batches, result.quarantined_rows) == (1, 0)
    assert [row["found_at"] for row in quarantined(session)] == found_at
    assert unlinked(session) == {5, 6}


def test_clamped_values_hold_the_value_comparison_and_those_within_range_say_nothing(
    expanded: Database, session: Connection
) -> None:
    session.execute(
        "UPDATE atoms SET confidence = CASE id WHEN 1 THEN 1.5 WHEN 2 THEN -0.1 ELSE 'NaN' END WHERE id <= 3"
    )
    backfill(expanded)
    decide(session, "atom", [1, 2, 3], "clamp", note="percent")
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}
    rows = session.execute(
        "SELECT atom_proposals.confidence, review_notes LIKE '%clamped%' AS said FROM atom_proposals "
        "JOIN atoms ON atoms.migrated_from_proposal_id = atom_proposals.id WHERE atoms.id <= 4 ORDER BY atoms.id"
    ).fetchall()
    assert [(row["confidence"], row["said"]) for row in rows] == [(1.0, True), (0.0, True), (None, True), (None, False)]
    session.execute("UPDATE atom_proposals SET confidence = 0.5 WHERE title = 'atom 1'")
    assert broken_rules(session) == {"atom_proposal_values_equal_the_entity": 1}


def test_what_clamping_does_not_cure_comes_back_into_quarantine(expanded: Database, session: Connection) -> None:
    session.execute("""UPDATE atoms SET meta = '{"a": "\\u0000"}' WHERE id = 5""")
    backfill(expanded)
    decide(session, "atom", [5], "clamp", note="wrong remedy")
    completion.complete(expanded, QUICK)
    assert set_aside(session) == {5: "22P05"}


def test_an_accepted_row_stays_without_a_proposal_and_can_be_retried_later(
    expanded: Database, session: Connection
) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id = 5")
    backfill(expanded)
    decide(session, "atom", [5], "accept", note="a test row")
    completion.complete(expanded, QUICK)
    assert (unlinked(session), broken_rules(session)) == ({5}, {})
    session.execute("UPDATE atoms SET confidence = 1 WHERE id = 5")
    decide(session, "atom", [5], "retry", note="mended after all")
    completion.complete(expanded, QUICK)
    assert (unlinked(session), broken_rules(session)) == (set(), {})


def test_a_row_that_has_its_proposal_cannot_be_decided_about(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id = 5")
    backfill(expanded)
    decide(session, "atom", [5], "clamp", note="percent")
    completion.complete(expanded, QUICK)
    with pytest.raises(MigrationError, match=r"No atom 5 waits in quarantine\. Nothing was decided"):
        decide(session, "atom", [5], "accept", note="too late")
    with pytest.raises(MigrationError, match="No row is named"):
        decide(session, "atom", [], "accept", note="nothing")
    assert count(session, "SELECT count(*) FROM migration.audit_log WHERE action LIKE 'quarantine%'") == 1


def test_a_row_that_a_user_deletes_between_decision_and_retry_does_no_harm(
    expanded: Database, session: Connection
) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id = 400")
    backfill(expanded)
    decide(session, "atom", [400], "clamp", note="percent")
    session.execute("DELETE FROM topic_atoms WHERE atom_id = 400; DELETE FROM atoms WHERE id = 400")
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}
