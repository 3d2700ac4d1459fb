"""Rows that cannot become a proposal are set aside one by one, the rest goes on, and a decision brings them back."""

import pytest

from knowledge_migration.engine.backfill.quarantine import decide, quarantined
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, count, fill

POISON = {
    1: "UPDATE atoms SET confidence = 1.5 WHERE id = 1",
    50: "UPDATE atoms SET confidence = -0.1 WHERE id = 50",
    51: "UPDATE atoms SET confidence = 'NaN' WHERE id = 51",
    100: 'UPDATE atoms SET meta = \'{"a": "\\u0000"}\' WHERE id = 100',
    101: "UPDATE atoms SET title = repeat('x', 201) WHERE id = 101",
    400: "UPDATE atoms SET content = NULL WHERE id = 400",
}


@pytest.fixture
def poisoned(any_expanded: Database) -> Database:
    """A database in which six atoms cannot become proposals; its columns are wider than the legacy ones."""
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        connection.execute("ALTER TABLE atoms ALTER title TYPE text, ALTER content DROP NOT NULL")
        for statement in POISON.values():
            connection.execute(statement)
    return any_expanded


def test_exactly_the_poisoned_rows_are_set_aside_with_the_reason(poisoned: Database) -> None:
    backfill(poisoned)
    with poisoned.connect("test") as connection:
        rows = quarantined(connection, "open")
        assert {row["row_id"]: row["sqlstate"] for row in rows} == {
            1: "23514", 50: "23514", 51: "23514", 100: "22P05", 101: "22001", 400: "23502",
        }  # fmt: skip
        assert all(row["entity"] == "atom" and row["reason"] for row in rows)
        assert count(connection, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NOT NULL") == 394
        assert broken_rules(connection) == {"every_atom_has_a_proposal": 6, "quarantine_is_decided": 6}


def test_clamping_brings_confidences_into_range_and_says_so(poisoned: Database) -> None:
    backfill(poisoned)
    with poisoned.connect("test") as connection:
        decide(connection, "atom", [1, 50, 51], "clamp", note="percent")
        decide(connection, "atom", [100, 101, 400], "accept", note="test rows")
        backfill(poisoned)
        assert broken_rules(connection) == {}
        rows = connection.execute(
            "SELECT a.id, p.confidence, p.review_notes LIKE '%%clamped%%' AS said FROM atoms a "
            "JOIN atom_proposals p ON p.id = a.migrated_from_proposal_id WHERE a.id IN (1, 50, 51) ORDER BY a.id"
        ).fetchall()
        assert [tuple(row.values()) for row in rows] == [(1, 1.0, True), (50, 0.0, True), (51, None, True)]
        assert count(connection, "SELECT count(*) FROM atoms WHERE id = 1 AND confidence = 1.5") == 1


def test_a_row_mended_at_its_source_is_migrated_after_retry(poisoned: Database) -> None:
    backfill(poisoned)
    with poisoned.connect("test") as connection:
        connection.execute("UPDATE atoms SET title = 'short' WHERE id = 101")
        decide(connection, "atom", [101, 400], "retry", note="mended one of the two")
        backfill(poisoned)
        assert {row["row_id"] for row in quarantined(connection, "open")} == {1, 50, 51, 100, 400}
        assert [row["row_id"] for row in quarantined(connection, "resolved")] == [101]


def test_a_quarantined_row_that_a_user_deletes_needs_no_decision(poisoned: Database) -> None:
    backfill(poisoned)
    with poisoned.connect("test") as connection:
        connection.execute("DELETE FROM topic_atoms WHERE atom_id IN (1, 50, 51, 100, 101, 400)")
        connection.execute("DELETE FROM atoms WHERE id IN (1, 50, 51, 100, 101, 400)")
        backfill(poisoned)
        assert broken_rules(connection) == {}


def test_a_decision_on_rows_that_do_not_wait_is_refused_whole(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        connection.execute("UPDATE atoms SET confidence = 2 WHERE id = 5")
        backfill(expanded)
        with pytest.raises(MigrationError, match="No atom 6 waits"):
            decide(connection, "atom", [5, 6], "clamp", note="x")
        assert quarantined(connection)[0]["state"] == "open"
        with pytest.raises(MigrationError, match="Only atoms have a confidence"):
            decide(connection, "topic", [5], "clamp", note="x")


def test_every_decision_is_in_the_audit_log(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        connection.execute("UPDATE atoms SET confidence = 2 WHERE id = 5")
        backfill(expanded)
        decide(connection, "atom", [5], "accept", note="a test row", actor="ada")
        assert audit(connection) == [("ada", "quarantine accept", "atom 5", "a test row")]


def audit(connection: Connection) -> list[tuple[object, ...]]:
    """Actor, action, subject and reason of every entry."""
    rows = connection.execute("SELECT actor, action, subject, reason FROM migration.audit_log ORDER BY id").fetchall()
    return [tuple(row.values()) for row in rows]
