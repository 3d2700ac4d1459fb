"""The judge complains about each kind of damage, and only then: each test breaks one thing on purpose."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration_tests.chaos import judge
from knowledge_migration_tests.chaos.journal import Extraction, Journal
from knowledge_migration_tests.chaos.proposals import promises
from knowledge_migration_tests.chaos.records import Complaint, Connection, Expected, Snapshot, connect, snapshot
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, fill

CHAOS = Path(judge.__file__).parent
COPY = "SELECT migrated_from_proposal_id FROM atoms WHERE id = 5"

Case = tuple[Connection, Snapshot, Journal, Expected]


@pytest.fixture
def case(expanded: Database) -> Iterator[Case]:
    """A backfilled database, in which a user has created, edited and deleted rows, all acknowledged."""
    fill(expanded)
    with connect(expanded.conninfo) as connection:
        before, journal = snapshot(connection), Journal()
        journal.creating("topics", "mine")
        values = {"name": "mine", "description": "what I wrote"}
        row = connection.execute(
            "INSERT INTO topics (name, description) VALUES ('mine', 'what I wrote') RETURNING id"
        ).fetchone()
        assert row
        journal.created("topics", row["id"], values)
        connection.execute("UPDATE atoms SET content = 'edited', updated_at = now() WHERE id = 7")
        journal.edited("atoms", 7, {"content": "edited"})
        connection.execute("DELETE FROM topic_atoms WHERE atom_id = 8")
        connection.execute("DELETE FROM atoms WHERE id = 8")
        journal.deleted("atoms", 8)
        backfill(expanded)
        yield connection, before, journal, Expected(schema=True, complete=True)


def complaints(case: Case) -> list[Complaint]:
    return judge.judge(*case).complaints


def rules(case: Case) -> set[str]:
    return {complaint.rule for complaint in complaints(case)}


def test_what_is_as_acknowledged_is_no_complaint(case: Case) -> None:
    assert complaints(case) == []
    assert judge.judge(*case).checked["rows"] == 461


DAMAGE: dict[LiteralString, str] = {
    "DELETE FROM topics WHERE name = 'mine'": "no acknowledged write is lost",
    "UPDATE topics SET description = 'other' WHERE name = 'mine'": "no acknowledged write is lost",
    "UPDATE atoms SET content = 'content 7' WHERE id = 7": "no acknowledged write is lost",
    "UPDATE atoms SET updated_at = now() + interval '1 s' WHERE id = 9": "no acknowledged write is lost",
    "UPDATE atoms SET confidence = NULL WHERE id = 5": "no acknowledged write is lost",
    "DELETE FROM topic_atoms WHERE atom_id = 9 AND topic_id = 10": "no acknowledged write is lost",
    "INSERT INTO atoms (id, type, title, content, user_approved) VALUES (8, 'insight', 'atom 8', 'x', false)": (
        "no acknowledged write is lost"
    ),
    "DROP INDEX ix_topics_name; INSERT INTO topics (name, description) VALUES ('mine', 'again')": "no name is duplicated",
    "INSERT INTO topics (name, description) VALUES ('without a proposal', '')": "every row has a proposal after phase 3",
    "INSERT INTO topics (name, description) VALUES ('without an answer', '')": "a row is in an answer",
    "UPDATE atoms SET migrated_from_proposal_id = NULL WHERE id = 5": "every row has a proposal after phase 3",
    "SET session_replication_role = replica; "
    "DELETE FROM atom_proposals WHERE id = (SELECT migrated_from_proposal_id FROM atoms WHERE id = 5)": (
        "a link names an existing proposal"
    ),
    "UPDATE atom_proposals SET title = 'other' WHERE id = (SELECT migrated_from_proposal_id FROM atoms WHERE id = 5)": (
        "a proposal has the values of its row"
    ),
    "UPDATE atom_proposals SET status = 'rejected' WHERE id = (SELECT migrated_from_proposal_id FROM atoms WHERE id = 5)": (
        "a link names an approved proposal"
    ),
    "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count, settings) "
    """VALUES ('00000000-0000-0000-0000-000000000001', '[]', 0, '{"mode": "dual_write"}'); """
    "INSERT INTO atom_proposals (extraction_run_id, type, title, content, status, entity_id) "
    "VALUES ('00000000-0000-0000-0000-000000000001', 'insight', 'a second one', '', 'approved', 5)": (
        "an approved proposal has its row"
    ),
    "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count, settings) "
    """VALUES ('00000000-0000-0000-0000-000000000001', '[]', 0, '{"mode": "proposal"}'); """
    "INSERT INTO atom_proposals (extraction_run_id, type, title, content, confidence) "
    "VALUES ('00000000-0000-0000-0000-000000000001', 'insight', 'it waits', '', 0.8)": "no proposal is stranded",
    "INSERT INTO migration.shadow_failure (process, reason, content) VALUES ('one', 'a lock', '{}')": (
        "no failed shadow write is left after the repair"
    ),
    "INSERT INTO users (first_name, is_active, is_bot) VALUES ('nobody', true, false)": "other tables are not changed",
}
"""Damage, and the rule that it violates."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_it_finds(case: Case, damage: LiteralString) -> None:
    case[0].execute(damage)
    assert DAMAGE[damage] in rules(case)


def acknowledged_proposal(case: Case) -> None:
    """An extraction whose proposal does not exist anywhere."""
    case[2].extracted(Extraction("proposal", None, (), (), (), (str(uuid.uuid4()),)))


def lost_decision(case: Case) -> None:
    """A rejection of a proposal that is approved."""
    row = case[0].execute(COPY).fetchone()
    assert row
    case[2].decided(str(row["migrated_from_proposal_id"]), "atoms", "rejected", None)


def unrecorded_reason(case: Case) -> None:
    """An action that the audit log does not know."""
    case[3].reasons.append("nobody wrote this")


def refused_creation(case: Case) -> None:
    """A creation that was refused, and exists."""
    case[2].refused_creation("topics", "mine")


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (acknowledged_proposal, "no acknowledged proposal is lost"),
        (lost_decision, "no decision is lost"),
        (unrecorded_reason, "every action is in the audit log"),
        (refused_creation, "what was refused is not written"),
    ],
)
def test_it_finds_what_the_journal_knows_better(case: Case, damage: Callable[[Case], None], rule: str) -> None:
    damage(case)
    assert rules(case) == {rule}


def test_it_accepts_both_outcomes_of_a_change_without_an_answer(case: Case) -> None:
    journal = case[2]
    journal.unanswered_edit("atoms", 9, {"content": "perhaps"})
    journal.unanswered_edit("atoms", 10, None)
    assert complaints(case) == []
    case[0].execute("UPDATE atoms SET content = 'perhaps' WHERE id = 9")
    case[0].execute("DELETE FROM topic_atoms WHERE atom_id = 10")
    case[0].execute("DELETE FROM atoms WHERE id = 10")
    assert complaints(case) == []
    case[0].execute("UPDATE atoms SET content = 'neither' WHERE id = 9")
    assert rules(case) == {"no acknowledged write is lost"}


def test_a_rollback_has_to_keep_its_promise(case: Case, expanded: Database) -> None:
    connection = case[0]
    assert {one.rule for one in promises(connection, "rollback backfill")} == {
        "the rollback of the backfill leaves nothing"
    }
    assert promises(connection, "rollback schema") != []
    rollback_backfill(expanded, reason="a test", limits=QUICK)
    assert promises(connection, "rollback backfill") == []


def test_an_entry_of_the_audit_log_that_is_altered_or_gone_is_found(case: Case) -> None:
    connection = case[0]
    entry = "INSERT INTO migration.audit_log (actor, action, subject) VALUES ('me', 'set flags', %s)"
    for subject in ("one", "two"):
        connection.execute(entry, (subject,))
    before = judge.audit_entries(connection)
    assert list(judge.altered_audit(connection, before)) == []
    connection.execute("ALTER TABLE migration.audit_log DISABLE TRIGGER ALL")
    connection.execute("UPDATE migration.audit_log SET reason = 'other' WHERE subject = 'one'")
    connection.execute("DELETE FROM migration.audit_log WHERE subject = 'two'")
    assert len(list(judge.altered_audit(connection, before))) == 2


def test_the_judge_imports_nothing_of_the_migration() -> None:
    for name in ("judge.py", "proposals.py", "records.py", "journal.py"):
        assert "knowledge_migration." not in (CHAOS / name).read_text(encoding="utf-8")
