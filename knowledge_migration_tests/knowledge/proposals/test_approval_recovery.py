"""A batch of approvals that should not have been is taken back, and nothing that a user has done since goes with it."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.errors import InvalidError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.approval_recovery import WrongApprovals, find_approvals, undo_approvals
from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible, eligible
from knowledge_migration.knowledge.proposals.review import Reviewer
from knowledge_migration_tests.engine.backfill.backfilling import backfill, blocked_by, count, gone
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ALWAYS,
    SYSTEM,
    WHO,
    approve,
    broken_rules,
    decide,
    propose,
    relations,
    table,
)
from knowledge_migration_tests.recovering import recover

ENTITIES = "SELECT name FROM topics UNION ALL SELECT title FROM atoms ORDER BY 1"


def found(database: Database, wanted: WrongApprovals = ALWAYS) -> dict[str, tuple[str, str]]:
    """What would become of each approval, by its name, in the order of the plan."""
    with database.begin() as transaction:
        return {
            one.label: (one.fate, one.why.partition(" (")[0]) for one in find_approvals(transaction, wanted).approvals
        }


def undone(database: Database, wanted: WrongApprovals = ALWAYS) -> dict[str, tuple[str, str]]:
    """What has become of each."""
    with database.begin() as transaction:
        planned = find_approvals(transaction, wanted).approvals
    with database.engine() as engine:
        return {one.label: (one.fate, one.why.partition(" (")[0]) for one in undo_approvals(engine, planned, WHO)}


def names(rows: Connection) -> list[str]:
    return [name for (name,) in table(rows, ENTITIES)]


def run_of(rows: Connection, proposal_id: UUID) -> UUID:
    ((run,),) = table(rows, "SELECT extraction_run_id FROM topic_proposals WHERE id = %s", proposal_id)
    return UUID(str(run))


def test_a_whole_extraction_is_taken_back_atoms_before_topics(peopled: Database, rows: Connection) -> None:
    proposals = propose(peopled)
    before = relations(rows)
    approve(peopled, *proposals.values())
    planned = found(peopled, WrongApprovals(run_id=run_of(rows, proposals["backups"])))
    assert list(planned)[-1] == "backups"
    assert planned == undone(peopled) == dict.fromkeys(planned, ("removed", ""))
    assert (names(rows), relations(rows)) == ([], before)
    assert table(rows, "SELECT DISTINCT status FROM topic_proposals UNION SELECT status FROM atom_proposals") == [
        ("pending",)
    ]
    assert table(rows, "SELECT DISTINCT actor, reason FROM migration.audit_log WHERE action = 'undo proposal'") == [
        ("a test", "approved by mistake")
    ]
    assert broken_rules(rows) == []
    assert undone(peopled) == {}
    approve(peopled, *proposals.values())  # nothing is lost: what was undone can be approved again
    assert broken_rules(rows) == []


def test_a_row_that_a_user_has_edited_stays_with_the_edit(peopled: Database, rows: Connection) -> None:
    proposals = propose(peopled)
    approve(peopled, *proposals.values())
    rows.execute("UPDATE atoms SET content = 'what a user wrote' WHERE title = 'restore'")
    planned = found(peopled)
    assert planned == {
        "rehearse": ("removed", ""),  # with the link of the other atom, which its own approval created
        "restore": ("kept", "somebody has changed its content since the approval"),
        "backups": ("kept", "atom 1 refers to it"),
    }
    assert undone(peopled) == planned
    assert table(rows, "SELECT content FROM atoms WHERE title = 'restore'") == [("what a user wrote",)]


def test_what_users_have_attached_keeps_the_row_and_only_that(peopled: Database, rows: Connection) -> None:
    many = Extraction(topics=tuple(topic(f"topic {n}", 0.6, (n,)) for n in range(1, 5)))
    proposals = propose(peopled, many)
    approve(peopled, *proposals.values())
    rows.execute("UPDATE messages SET topic_id = (SELECT id FROM topics WHERE name = 'topic 2') WHERE id = 100")
    rows.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'by hand', '', true)")
    rows.execute(
        "INSERT INTO topic_atoms (topic_id, atom_id) SELECT t.id, a.id FROM topics t, atoms a WHERE t.name = 'topic 3'"
    )
    (merged,) = propose(peopled, Extraction(topics=(topic("topic iv"),))).values()
    decide(peopled, review.merge, merged, 4)
    assert undone(peopled) == {
        "topic 1": ("removed", ""),
        "topic 2": ("kept", "message 100 refers to it"),
        "topic 3": ("kept", "atom 1 refers to it"),
        "topic 4": ("kept", f"proposal {merged} refers to it"),
    }
    assert names(rows) == ["by hand", "topic 2", "topic 3", "topic 4"]


def test_an_approval_that_matched_a_row_goes_back_to_review_and_the_row_stays(
    peopled: Database, rows: Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('backups', 'by hand')")
    approve(peopled, propose(peopled, Extraction(topics=(topic("backups"),)))["backups"])
    assert undone(peopled) == {"backups": ("returned", "")}
    assert table(rows, "SELECT name, description FROM topics") == [("backups", "by hand")]
    assert table(rows, "SELECT status, similar_topic_id FROM topic_proposals") == [("pending", None)]


def test_approvals_are_undone_in_the_reverse_order_whatever_they_related(peopled: Database, rows: Connection) -> None:
    proposals = propose(peopled)
    approve(
        peopled, proposals["restore"], proposals["rehearse"], proposals["backups"]
    )  # each approval related the ones before
    assert list(found(peopled)) == ["rehearse", "restore", "backups"]
    assert set(undone(peopled).values()) == {("removed", "")}
    assert names(rows) == []


def test_a_selection_means_exactly_its_run_time_reviewer_and_action(peopled: Database, rows: Connection) -> None:
    ann, bob, sure = (
        propose(peopled, Extraction(topics=(topic(name, confidence),)))
        for name, confidence in (("by ann", 0.6), ("by bob", 0.6), ("by itself", 0.99))
    )
    decide(peopled, review.approve, ann["by ann"], reviewer=Reviewer("ann", 1))
    decide(peopled, review.approve, bob["by bob"], reviewer=Reviewer("bob", 2))
    with peopled.begin() as transaction:
        waiting = eligible(transaction, Flags(), 10)
    with peopled.engine() as engine:
        assert approve_all_eligible(engine, Flags(), waiting) == 1
    ((moment,),) = table(rows, "SELECT reviewed_at FROM topic_proposals WHERE name = 'by bob'")
    always = {"since": ALWAYS.since}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        (always, {"by ann", "by bob", "by itself"}),
        ({"run_id": run_of(rows, ann["by ann"])}, {"by ann"}),
        ({"since": moment}, {"by bob", "by itself"}),
        ({**always, "until": moment}, {"by ann", "by bob"}),
        ({"since": moment, "until": moment}, {"by bob"}),
        ({**always, "reviewer": "ann"}, {"by ann"}),
        ({**always, "reviewer": "2"}, {"by bob"}),
        ({**always, "reviewer": "an"}, set()),
        ({**always, "reviewer": "auto-approval"}, {"by itself"}),
        ({**always, "action": "auto_approve"}, {"by itself"}),
        ({**always, "action": "approve"}, {"by ann", "by bob"}),
    ]
    assert sure
    for given, expected in cases:
        assert found(peopled, WrongApprovals(**given)).keys() == expected, given
    with pytest.raises(InvalidError, match="Say which"):
        found(peopled, WrongApprovals(action="approve"))


def test_what_was_taken_back_is_not_approved_again_by_itself(peopled: Database) -> None:
    propose(peopled, Extraction(topics=(topic("sure", 0.99),)))
    for expected in (1, 0):
        with peopled.begin() as transaction:
            waiting = eligible(transaction, Flags(), 10)
        with peopled.engine() as engine:
            assert approve_all_eligible(engine, Flags(), waiting) == expected
        undone(peopled)


def test_backfilled_and_dual_written_rows_are_refused_with_their_own_way_back(
    peopled: Database, rows: Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('old', ''), ('beside', '')")
    backfill(peopled)
    rows.execute("UPDATE topic_proposals SET review_action = 'dual_write' WHERE name = 'beside'")
    with peopled.begin() as transaction:
        refused = find_approvals(transaction, ALWAYS)
    assert refused.approvals == ()
    assert refused.refused == {
        "they were backfilled (knowledge-migration rollback backfill)": 1,
        "they were written beside direct writes (knowledge-migration rollback dual-write)": 1,
    }


def test_what_happens_between_the_plan_and_the_deed_is_respected(peopled: Database, rows: Connection) -> None:
    many = Extraction(topics=tuple(topic(f"topic {n}", 0.6, ()) for n in range(1, 6)))
    proposals = propose(peopled, many)
    approve(peopled, *proposals.values())
    with peopled.begin() as transaction:
        planned = find_approvals(transaction, ALWAYS).approvals
    rows.execute("UPDATE topics SET description = 'edited' WHERE name = 'topic 1'")
    rows.execute("UPDATE messages SET topic_id = (SELECT id FROM topics WHERE name = 'topic 2') WHERE id = 100")
    decide(peopled, undo.undo, proposals["topic 3"])
    decide(peopled, undo.undo, proposals["topic 4"])
    approve(peopled, proposals["topic 4"])
    with peopled.engine() as engine:
        done = {one.label: (one.fate, one.why.partition(" (")[0]) for one in undo_approvals(engine, planned, WHO)}
    assert done == {
        "topic 1": ("kept", "somebody has changed its description since the approval"),
        "topic 2": ("kept", "message 100 refers to it"),
        "topic 3": ("kept", "somebody else has decided about it meanwhile"),
        "topic 4": ("kept", "somebody else has decided about it meanwhile"),
        "topic 5": ("removed", ""),
    }
    assert names(rows) == ["topic 1", "topic 2", "topic 4"]


def test_an_edit_that_is_under_way_is_waited_for_and_kept(peopled: Database, rows: Connection) -> None:
    approve(peopled, propose(peopled, Extraction(topics=(topic("backups"),)))["backups"])
    done: list[dict[str, tuple[str, str]]] = []
    with peopled.connect("user") as user:
        user.execute("BEGIN; UPDATE topics SET description = 'edited'")
        recovering = threading.Thread(target=lambda: done.append(undone(peopled)))
        recovering.start()
        blocked_by(rows, user)
        user.execute("COMMIT")
        recovering.join(30)
    assert done == [{"backups": ("kept", "somebody has changed its description since the approval")}]
    assert table(rows, "SELECT description FROM topics") == [("edited",)]


def test_two_at_once_take_everything_back_once(peopled: Database, rows: Connection) -> None:
    for number in range(6):
        more = [atom(f"{number} {n}", f"topic {number}") for n in range(3)]
        proposals = propose(peopled, Extraction(topics=(topic(f"topic {number}"),), atoms=tuple(more)))
        approve(peopled, *proposals.values())
    ready, failures = threading.Barrier(2), list[BaseException]()

    def one() -> None:
        ready.wait(20)
        try:
            undone(peopled)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    undone(peopled)
    assert names(rows) == []
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'undo proposal'") == 24
    assert broken_rules(rows) == []


KILLED = """
import sys
from datetime import UTC, datetime
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.proposals.approval_recovery import WrongApprovals, find_approvals, undo_approvals
from knowledge_migration.knowledge.proposals.review import Reviewer
database = Database(sys.argv[1])
with database.begin() as transaction:
    planned = find_approvals(transaction, WrongApprovals(since=datetime(2020, 1, 1, tzinfo=UTC))).approvals
with database.engine() as engine:
    for one in undo_approvals(engine, planned, Reviewer("a test")):
        print(one.label, flush=True)
        sys.stdin.readline()
"""


def test_killed_in_the_middle_a_second_run_takes_back_the_rest(peopled: Database, rows: Connection) -> None:
    approve(peopled, *propose(peopled, Extraction(topics=tuple(topic(f"topic {n}") for n in range(8)))).values())
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, peopled.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin
    assert child.stdout
    for _ in range(3):
        assert child.stdout.readline()
        child.stdin.write("\n")
        child.stdin.flush()
    assert child.stdout.readline()
    child.kill()
    child.communicate()
    gone(rows, "knowledge_migration schema")
    assert len(names(rows)) == 4
    assert set(undone(peopled).values()) == {("removed", "")}
    assert names(rows) == []
    assert broken_rules(rows) == []


def test_the_command_shows_asks_and_takes_back(peopled: Database, rows: Connection, tmp_path: Path) -> None:
    proposals = propose(peopled)
    for proposal_id in proposals.values():
        decide(peopled, review.approve, proposal_id, reviewer=SYSTEM)
    run = ("approvals", "--run", str(run_of(rows, proposals["backups"])))
    tried = recover(peopled, *run, "--dry-run", home=tmp_path)
    assert (tried.returncode, "Would be in review again, its row removed: 3" in tried.stdout) == (0, True), tried.stderr
    assert recover(peopled, "approvals", home=tmp_path).returncode == 2
    assert recover(peopled, "approvals", "--since", "yesterday", home=tmp_path).returncode == 2
    assert recover(peopled, *run, "--reason", "a test", home=tmp_path, answer="n\n").returncode == 1
    assert len(names(rows)) == 3
    done = recover(peopled, *run, "--reason", "a test", "--yes", home=tmp_path)
    assert (done.returncode, "Now in review again, its row removed: 3" in done.stdout) == (0, True), done.stderr
    assert names(rows) == []
    assert "nothing to undo" in recover(peopled, *run, "--dry-run", home=tmp_path).stdout
