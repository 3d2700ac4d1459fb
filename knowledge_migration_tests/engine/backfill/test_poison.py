"""Whatever a row holds that a proposal cannot, exactly that row is set aside, wherever in a batch it stands."""

from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from knowledge_migration.engine.backfill import completion
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.quarantine import decide, quarantined
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    fill,
    legacy_values,
)

ATOMS = Partition("atom", "000000000001", 0, 500)

ATOM_POISON = {
    2: ("23514", "UPDATE atoms SET confidence = 1.5 WHERE id = 2"),
    3: ("23514", "UPDATE atoms SET confidence = -0.1 WHERE id = 3"),
    49: ("23514", "UPDATE atoms SET confidence = 'NaN' WHERE id = 49"),
    50: ("23514", "UPDATE atoms SET confidence = '-Infinity' WHERE id = 50"),
    51: ("22P05", """UPDATE atoms SET meta = '{"a": "\\u0000"}' WHERE id = 51"""),
    77: ("22P02", """UPDATE atoms SET meta = '{"a": "\\ud83d"}' WHERE id = 77"""),
    79: ("22003", """UPDATE atoms SET meta = '{"a": 1e400000}' WHERE id = 79"""),
    100: (
        "54001",  # nested deeper than the stack of a session with the server's own limit
        "SET max_stack_depth = '7MB'; "
        "UPDATE atoms SET meta = (repeat('[', 30000) || repeat(']', 30000))::json WHERE id = 100",
    ),
    130: ("22001", "ALTER TABLE atoms ALTER title TYPE text; UPDATE atoms SET title = repeat('ü', 201) WHERE id = 130"),
    131: ("22001", "ALTER TABLE atoms ALTER type TYPE text; UPDATE atoms SET type = repeat('x', 21) WHERE id = 131"),
    200: ("23502", "ALTER TABLE atoms ALTER content DROP NOT NULL; UPDATE atoms SET content = NULL WHERE id = 200"),
    300: (
        "P0001",  # a guard of the user's
        "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'atom % is under legal hold', NEW.id; END $$;"
        "CREATE TRIGGER guard BEFORE UPDATE ON atoms FOR EACH ROW WHEN (NEW.id = 300) EXECUTE FUNCTION guard()",
    ),
    399: (
        "23505",  # its origin is claimed by another row
        "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (gen_random_uuid(), '[]', 0);"
        "INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, confidence) "
        "SELECT migration.origin_proposal_id('atoms', 399), id, 'insight', 'x', '', 1 FROM knowledge_extraction_runs;"
        "UPDATE atoms SET migrated_from_proposal_id = migration.origin_proposal_id('atoms', 399), "
        "migration_timestamp = now() WHERE id = 400",
    ),
}


def set_aside(connection: Connection) -> dict[int, str]:
    """Rows in quarantine and their SQLSTATE."""
    return {row["row_id"]: row["sqlstate"] for row in quarantined(connection, "open")}


def unlinked(connection: Connection) -> set[int]:
    """Atoms without a proposal."""
    return {row["id"] for row in connection.execute("SELECT id FROM atoms WHERE migrated_from_proposal_id IS NULL")}


def test_each_kind_of_row_is_set_aside_with_its_reason_and_all_others_are_migrated(any_expanded: Database) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        for _, statement in ATOM_POISON.values():
            connection.execute(statement)
        before = legacy_values(connection)
        result = backfill_partition(any_expanded, ATOMS, QUICK)
        assert set_aside(connection) == {row_id: sqlstate for row_id, (sqlstate, _) in ATOM_POISON.items()}
        assert unlinked(connection) == ATOM_POISON.keys()
        assert (result.linked_rows, result.quarantined_rows, result.remaining) == (386, 13, 0)
        assert legacy_values(connection) == before


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
    with pytest.raises(MigrationError, match=r"No atom 5 waits in quarantine\. No decision was recorded"):
        decide(session, "atom", [5], "accept", note="too late")
    with pytest.raises(MigrationError, match="names no row"):
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


def guard(connection: Connection, body: LiteralString) -> None:
    """A trigger of the user's before each update of an atom."""
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;"
            "CREATE TRIGGER atoms_guard BEFORE UPDATE ON atoms FOR EACH ROW EXECUTE FUNCTION guard()"
        ).format(sql.SQL(body))
    )


def test_a_row_whose_update_a_trigger_suppresses_is_set_aside_with_the_trigger(
    any_expanded: Database,
) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        guard(connection, "IF OLD.id % 50 = 0 THEN RETURN NULL; END IF;")
        result = backfill_partition(any_expanded, ATOMS, QUICK)
        frozen = set(range(50, 401, 50))
        assert (set(set_aside(connection)), unlinked(connection)) == (frozen, frozen)
        assert (result.quarantined_rows, result.remaining) == (len(frozen), 0)
        assert all("atoms_guard" in row["reason"] for row in quarantined(connection))
        assert count(connection, "SELECT count(*) FROM atom_proposals") == result.linked_rows


@pytest.mark.parametrize("state", ["PT403", "23503", "42501", "42P01", "P0001", "22000", "ZZ999"])
def test_any_error_that_a_trigger_raises_for_a_row_belongs_to_that_row(
    expanded: Database, session: Connection, state: LiteralString
) -> None:
    guard(session, f"IF OLD.id % 60 = 0 THEN RAISE EXCEPTION 'row is locked' USING ERRCODE = '{state}'; END IF;")
    result = backfill_partition(expanded, ATOMS, QUICK)
    assert set_aside(session) == dict.fromkeys(range(60, 401, 60), state)
    assert result.remaining == 0


def test_an_error_of_our_own_statement_or_of_the_server_ends_the_run(expanded: Database, session: Connection) -> None:
    guard(session, "IF OLD.id = 60 THEN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END IF;")
    with pytest.raises(MigrationError, match="no space"):
        backfill_partition(expanded, ATOMS, QUICK)
    assert set_aside(session) == {}
    session.execute("DROP TRIGGER atoms_guard ON atoms; ALTER TABLE migration.quarantine RENAME TO elsewhere")
    with pytest.raises(psycopg.errors.UndefinedTable):
        backfill_partition(expanded, ATOMS, QUICK)


def test_a_cause_that_all_rows_share_ends_the_run_before_all_are_set_aside(
    expanded: Database, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge_migration.engine.backfill.runner.HOPELESS_ROWS", 20)
    guard(session, "RETURN NULL;")
    with pytest.raises(MigrationError, match="None of the first 20 rows of atoms"):
        backfill_partition(expanded, ATOMS, QUICK)
    assert len(set_aside(session)) == 20
