"""Pending proposals of the same thing are merged or rejected without losing anything, and no approved one is ever touched."""

import threading
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema.upgrade import upgrade
from knowledge_migration.knowledge.errors import ConflictError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.duplicate_proposals import duplicate_groups, resolve
from knowledge_migration.knowledge.proposals.link_conflicts import (
    link_conflicts,
    resolve_claims,
    resolve_origins,
    shared_origins,
)
from knowledge_migration.knowledge.proposals.review import Reviewer
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import backfill, count
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    PAIR,
    approve,
    audit,
    broken_rules,
    decide,
    propose,
    relations,
    table,
)
from knowledge_migration_tests.recovering import recover

WHO = Reviewer("a test", None, "extracted twice")
STRATEGY = """
WITH ranked AS (
  SELECT id, ROW_NUMBER() OVER (PARTITION BY name ORDER BY created_at) as rn
  FROM topic_proposals
)
UPDATE topic_proposals
SET status = 'rejected', review_notes = 'Duplicate proposal'
WHERE id IN (SELECT id FROM ranked WHERE rn > 1)
"""
STATUSES = """
SELECT name, status FROM topic_proposals UNION ALL SELECT title, status FROM atom_proposals ORDER BY 1, 2
"""


def recovered(database: Database) -> dict[str, int]:
    """Merges and rejects what there is; how many of each action."""
    with database.begin() as transaction:
        groups = duplicate_groups(transaction)
    with database.engine() as engine:
        actions = [one.action for one in resolve(engine, groups, WHO)]
    return {action: actions.count(action) for action in dict.fromkeys(actions)}


def plan(database: Database) -> list[tuple[str, str, str]]:
    """(name, action, why) of every duplicate."""
    with database.begin() as transaction:
        return [
            (group.label, one.action, one.why.partition(";")[0])
            for group in duplicate_groups(transaction)
            for one in group.others
        ]


def status(rows: Connection, proposal_id: UUID) -> str:
    query = (
        "SELECT status FROM topic_proposals WHERE id = %(id)s UNION SELECT status FROM atom_proposals WHERE id = %(id)s"
    )
    row = rows.execute(query, {"id": proposal_id}).fetchone()
    assert row
    return str(row["status"])


def test_the_strategys_statement_rejects_the_approved_proposal_of_a_live_topic_and_ours_does_not(
    peopled: Database, rows: Connection
) -> None:
    older, newer = propose(peopled), propose(peopled)
    (topic_id,) = approve(peopled, newer["backups"])
    with rows.transaction(force_rollback=True):
        rows.execute(STRATEGY)
        assert (status(rows, older["backups"]), status(rows, newer["backups"])) == ("pending", "rejected")
        linked = "SELECT status FROM topic_proposals p JOIN topics t ON t.migrated_from_proposal_id = p.id"
        assert table(rows, linked) == [("rejected",)]
    assert recovered(peopled) == {"reject": 2, "merge": 1}
    assert (status(rows, older["backups"]), status(rows, newer["backups"])) == ("merged", "approved")
    assert table(rows, "SELECT similar_topic_id FROM topic_proposals WHERE status = 'merged'") == [(topic_id,)]
    assert broken_rules(rows) == []


def test_of_pending_ones_the_oldest_stays_and_is_approved_with_everything(peopled: Database, rows: Connection) -> None:
    first = propose(peopled)
    others = [propose(peopled) for _ in range(3)]
    assert recovered(peopled) == {"reject": 9}
    assert {status(rows, one) for other in others for one in other.values()} == {"rejected"}
    assert recovered(peopled) == {}
    approve(peopled, *first.values())
    assert [row[:2] for row in relations(rows)["topic_atoms"]] == [("backups", "rehearse"), ("backups", "restore")]
    assert [row[0] for row in relations(rows)["messages"]] == [1, 2]
    assert len(relations(rows)["atom_links"]) == 1
    assert broken_rules(rows) == []


def test_case_and_white_space_make_no_difference_but_a_word_does(peopled: Database, rows: Connection) -> None:
    propose(peopled, Extraction(topics=(topic("Backups  and Disks"),)))
    same = topic("backups and disks").model_copy(update={"description": "About  backups\nand disks"})
    propose(peopled, Extraction(topics=(same,)))
    other = topic("Backups and Disks").model_copy(update={"description": "about something else"})
    propose(peopled, Extraction(topics=(other,)))
    assert plan(peopled) == [("Backups  and Disks", "reject", "")]
    assert recovered(peopled) == {"reject": 1}
    assert table(rows, "SELECT status, count(*) FROM topic_proposals GROUP BY 1 ORDER BY 1") == [
        ("pending", 2),
        ("rejected", 1),
    ]


def test_atoms_of_the_same_title_and_another_type_or_text_are_not_the_same(peopled: Database) -> None:
    for values in ({}, {"type": "decision"}, {"content": "another text"}):
        propose(peopled, Extraction(topics=(topic("backups"),), atoms=(atom("restore", "backups", **values),)))
    assert [row for row in plan(peopled) if row[0] == "restore"] == []


def test_what_was_decided_is_not_touched_whatever_it_is(peopled: Database, rows: Connection) -> None:
    made = [propose(peopled)["backups"] for _ in range(5)]
    approve(peopled, made[0], made[1])
    decide(peopled, review.reject, made[2])
    decide(peopled, review.merge, made[3], 1)
    before = {one: status(rows, one) for one in made[:4]}
    assert list(before.values()) == ["approved", "approved", "rejected", "merged"]
    recovered(peopled)
    assert ({one: status(rows, one) for one in made[:4]}, status(rows, made[4])) == (before, "merged")


def test_one_whose_row_a_user_has_deleted_is_none_to_merge_into(peopled: Database, rows: Connection) -> None:
    first, second = propose(peopled)["backups"], propose(peopled)["backups"]
    approve(peopled, first)
    rows.execute("UPDATE messages SET topic_id = NULL; DELETE FROM topics")
    assert [row for row in plan(peopled) if row[0] == "backups"] == []
    assert status(rows, second) == "pending"


def test_one_that_speaks_of_other_messages_waits_until_it_can_be_merged(peopled: Database, rows: Connection) -> None:
    first = propose(peopled, Extraction(topics=(topic("backups", messages=(1,)),)))
    second = propose(peopled, Extraction(topics=(topic("backups", messages=(1, 9)),)))
    assert plan(peopled) == [("backups", "leave", "it asks for more")]
    assert recovered(peopled) == {"leave": 1}
    approve(peopled, first["backups"])
    assert recovered(peopled) == {"merge": 1}
    assert status(rows, second["backups"]) == "merged"
    assert relations(rows)["messages"] == [(1, "backups"), (9, "backups")]


def test_a_topic_on_which_an_atom_builds_that_is_new_waits_too(peopled: Database, rows: Connection) -> None:
    first = propose(peopled)
    more = PAIR.model_copy(update={"atoms": (*PAIR.atoms, atom("replace", "backups"))})
    second = propose(peopled, more)
    assert sorted(plan(peopled)) == [
        ("backups", "leave", "others build on it"),
        ("rehearse", "reject", ""),
        ("restore", "reject", ""),
    ]
    recovered(peopled)
    approve(peopled, first["backups"])
    recovered(peopled)
    approve(peopled, second["replace"])
    assert [row[:2] for row in relations(rows)["topic_atoms"]] == [("backups", "replace")]


def test_each_is_in_the_audit_log_with_the_one_that_stays_and_can_be_undone(
    peopled: Database, rows: Connection
) -> None:
    first, second = (propose(peopled, Extraction(topics=(topic("backups"),)))["backups"] for _ in range(2))
    recovered(peopled)
    assert audit(rows) == [
        (
            "a test",
            "reject proposal",
            f"topic proposal {second}",
            "pending",
            "rejected",
            f"Duplicate of proposal {first}: extracted twice",
        )
    ]
    decide(peopled, undo.undo, second)
    approve(peopled, first)
    recovered(peopled)
    assert status(rows, second) == "merged"
    decide(peopled, undo.undo, second)
    assert (status(rows, first), status(rows, second)) == ("approved", "pending")
    assert broken_rules(rows) == []


def test_what_changes_between_the_plan_and_the_deed_is_left_or_merged(peopled: Database, rows: Connection) -> None:
    one = Extraction(topics=(topic("a"), topic("b"), topic("c"), topic("d")))
    first, second = propose(peopled, one), propose(peopled, one)
    with peopled.begin() as transaction:
        groups = duplicate_groups(transaction)
    approve(peopled, first["a"])  # the one that stays: the other can be merged now
    decide(peopled, review.reject, first["b"])  # the one that stays: the other is the only one now
    approve(peopled, second["c"])  # the duplicate itself
    rows.execute("UPDATE topic_proposals SET description = 'other' WHERE id = %s", (second["d"],))
    with peopled.engine() as engine:
        done = {resolved.proposal_id: resolved.action for resolved in resolve(engine, groups, WHO)}
    assert [done[second[name]] for name in "abcd"] == ["merge", "leave", "leave", "leave"]
    assert [status(rows, second[name]) for name in "abcd"] == ["merged", "pending", "approved", "pending"]


def test_two_who_recover_and_reviewers_at_once_end_with_one_of_each(peopled: Database, rows: Connection) -> None:
    many = Extraction(topics=tuple(topic(f"topic {n}") for n in range(12)))
    runs = [propose(peopled, many) for _ in range(3)]
    failures: list[BaseException] = []
    ready = threading.Barrier(4)

    def recovering() -> None:
        ready.wait(20)
        recovered(peopled)

    def approving(run: int) -> None:
        ready.wait(20)
        for proposal_id in reversed(runs[run].values()):
            with suppress(ConflictError):  # it was rejected as a duplicate first
                decide(peopled, review.approve, proposal_id)

    def safely(work: object, *given: int) -> None:
        try:
            work(*given)  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    works = [(recovering,), (recovering,), (approving, 0), (approving, 2)]
    threads = [threading.Thread(target=safely, args=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    recovered(peopled)
    assert count(rows, "SELECT count(*) FROM topics") == 12
    assert count(rows, "SELECT count(*) FROM topic_proposals WHERE status = 'pending'") == 0
    assert broken_rules(rows) == []


def test_the_command_lists_asks_and_does_it(peopled: Database, rows: Connection, tmp_path: Path) -> None:
    for _ in range(2):
        propose(peopled)
    tried = recover(peopled, "duplicates", "--dry-run", home=tmp_path)
    assert (tried.returncode, "3 duplicates: 0 to merge, 3 to reject, 0 to leave" in tried.stdout) == (0, True), tried
    assert count(rows, "SELECT count(*) FROM topic_proposals WHERE status = 'pending'") == 2
    assert recover(peopled, "duplicates", "--yes", home=tmp_path).returncode == 2
    done = recover(peopled, "duplicates", "--reason", "a test", "--yes", home=tmp_path)
    assert (done.returncode, "Merged 0, rejected 3, left 0" in done.stdout) == (0, True), done.stderr
    assert "No pending proposal is a duplicate" in recover(peopled, "duplicates", "--dry-run", home=tmp_path).stdout


# --- what only a dropped unique index allows ---


def mended(database: Database) -> list[str]:
    """Mends both kinds of double claims; what became of each."""
    with database.begin() as transaction:
        claims, shared = link_conflicts(transaction), shared_origins(transaction)
    with database.engine() as engine:
        return [words for _, words in resolve_claims(engine, claims, WHO)] + [
            words for _, words in resolve_origins(engine, shared, WHO)
        ]


@pytest.fixture
def approved(peopled: Database, rows: Connection) -> dict[str, UUID]:
    """An approved extraction, and a database whose indexes of the links somebody has dropped."""
    proposals = propose(peopled)
    approve(peopled, *proposals.values())
    rows.execute("DROP INDEX idx_topics_migration, idx_atoms_migration")
    return proposals


def test_a_second_approved_proposal_of_one_row_is_made_to_stand_for_it(
    peopled: Database, rows: Connection, approved: dict[str, UUID]
) -> None:
    second = propose(peopled)
    for kind, name in (("topic", "backups"), ("atom", "restore")):
        rows.execute(
            f"UPDATE {kind}_proposals SET status = 'approved', review_action = 'approve', reviewed_at = now(), "  # noqa: S608
            f"entity_id = (SELECT entity_id FROM {kind}_proposals WHERE id = %(first)s) WHERE id = %(second)s",
            {"first": approved[name], "second": second[name]},
        )
    assert broken_rules(rows) == ["no_approved_topic_proposal_is_orphaned", "no_approved_atom_proposal_is_orphaned"]
    before = table(rows, "SELECT * FROM topics ORDER BY id") + table(rows, "SELECT * FROM atoms ORDER BY id")
    assert mended(peopled) == ["merged into topic 1", "merged into atom 1"]
    assert mended(peopled) == []
    assert table(rows, "SELECT * FROM topics ORDER BY id") + table(rows, "SELECT * FROM atoms ORDER BY id") == before
    assert [status(rows, second[name]) for name in ("backups", "restore")] == ["merged", "merged"]
    assert [status(rows, approved[name]) for name in ("backups", "restore")] == ["approved", "approved"]
    assert broken_rules(rows) == []


def test_a_row_that_took_the_proposal_of_another_gets_its_own_and_the_index_can_be_built_again(
    peopled: Database, rows: Connection, approved: dict[str, UUID], tmp_path: Path
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('old one', 'old'), ('old two', 'old')")
    backfill(peopled)
    link = "UPDATE topics SET migrated_from_proposal_id = (SELECT migrated_from_proposal_id FROM topics WHERE name = '{}') "
    rows.execute(link.format("backups") + "WHERE name = 'old one'")
    rows.execute(link.format("old two") + "WHERE name = 'backups'")
    rows.execute(link.format("old two") + "WHERE name = 'old one'")
    assert "topic_proposals_serve_one_row" in broken_rules(rows)
    done = recover(peopled, "duplicates", "--reason", "index dropped", "--yes", home=tmp_path)
    assert (done.returncode, "link corrected of 1, 2" in done.stdout) == (0, True), done.stdout + done.stderr
    assert table(rows, "SELECT name FROM topics WHERE migrated_from_proposal_id IS NULL") == [("old one",)]
    backfill(peopled)
    assert table(rows, "SELECT count(*), count(DISTINCT migrated_from_proposal_id) FROM topics") == [(3, 3)]
    assert broken_rules(rows) == []
    assert len(list(proposal_differences(peopled))) == 2
    upgrade(peopled, SchemaChangeSettings())
    assert list(proposal_differences(peopled)) == []
