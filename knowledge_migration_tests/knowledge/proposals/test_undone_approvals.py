"""An undone approval waits for a reviewer again, and an undo never removes what somebody has done since."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.errors import ConflictError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.proposals import review
from knowledge_migration.knowledge.proposals.approval_recovery import find_approvals, undo_approvals
from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible, eligible
from knowledge_migration.knowledge.proposals.history import list_decisions
from knowledge_migration.knowledge.proposals.listing import Wanted, count_proposals, list_proposals
from knowledge_migration.knowledge.proposals.stranded import settle
from knowledge_migration.knowledge.proposals.undo import undo
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ALWAYS,
    ME,
    STRANDED,
    WHO,
    approve,
    audit,
    broken_rules,
    decide,
    filed,
    held_up,
    propose,
    relations,
    table,
)
from knowledge_migration_tests.recovering import command

EVERYTHING = {
    name: f"SELECT to_jsonb(one) FROM {name} AS one ORDER BY 1"  # noqa: S608
    for name in ("topics", "atoms", "topic_atoms", "atom_links", "messages", "topic_proposals", "atom_proposals")
}


@pytest.fixture
def proposed(peopled: Database) -> dict[str, UUID]:
    """One topic and two linked atoms that wait."""
    return propose(peopled)


def everything(rows: Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {name: table(rows, query) for name, query in EVERYTHING.items()}


def waiting(database: Database) -> tuple[dict[str, int | None], set[str]]:
    """What the queue counts and lists."""
    with database.begin() as transaction:
        items = list_proposals(transaction, Wanted(), 200).items
        counts = count_proposals(transaction, Wanted())
    return dict(counts), {item.get("name") or item["title"] for item in items}


# An undone approval waits again.


def test_an_undone_approval_is_listed_and_counted_again_and_the_history_shows_both(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    before = waiting(peopled)
    approve(peopled, *proposed.values())
    assert waiting(peopled) == ({"topic": 0, "atom": 0}, set())
    for name in ("rehearse", "restore", "backups"):
        decision = decide(peopled, undo, proposed[name])
        assert (decision.status, decision.entity_id, decision.changed) == ("pending", None, True)
        assert decide(peopled, undo, proposed[name]).changed is False
    assert waiting(peopled) == before
    with peopled.begin() as transaction:
        history = list_decisions(transaction, 10).items
    assert [(one["action"], one["label"], one["actor"], one["reason"], one["status_now"]) for one in history] == [
        *(("undo", name, "a test, user 1", "looks right", "pending") for name in ("backups", "restore", "rehearse")),
        *(("approve", name, "a test, user 1", "looks right", "pending") for name in ("rehearse", "restore", "backups")),
    ]
    assert not any(one["can_undo"] for one in history)
    assert broken_rules(rows) == []


@pytest.mark.parametrize("name", ["backups", "restore"])
def test_an_undone_proposal_can_be_decided_in_every_way_and_undone_twice(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], name: str
) -> None:
    label, key = ("name" if name == "backups" else "title"), proposed[name]
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', '')")
    rows.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'target', '', false)")
    for _ in range(2):
        approve(peopled, key)
        assert decide(peopled, undo, key).status == "pending"
    assert decide(peopled, review.reject, key).status == "rejected"
    assert decide(peopled, undo, key).status == "pending"
    assert decide(peopled, review.merge, key, 1).status == "merged"
    assert decide(peopled, undo, key).status == "pending"
    with peopled.begin() as transaction:
        edited = review.approve(transaction, key, ME, changes={label: "corrected"})
    assert edited.changed
    assert decide(peopled, undo, key).status == "pending"
    kind = "topic" if name == "backups" else "atom"
    assert table(rows, f"SELECT {label}, status FROM {kind}_proposals WHERE id = %s", key) == [(name, "pending")]  # noqa: S608
    assert table(rows, f"SELECT {label} FROM {kind}s") == [("target",)]  # noqa: S608
    assert len(audit(rows)) == 10
    assert broken_rules(rows) == []


def test_only_a_reviewer_approves_what_was_undone_whatever_the_threshold(peopled: Database, tmp_path: Path) -> None:
    key = propose(peopled, Extraction(topics=(topic("sure", 0.99),)))["sure"]
    low = Flags(auto_approve_threshold=0.0)
    with peopled.engine() as engine:
        assert approve_all_eligible(engine, Flags(), [key]) == 1
        decide(peopled, undo, key)
        with peopled.begin() as transaction:
            assert eligible(transaction, low, 10) == []
        assert approve_all_eligible(engine, low, [key]) == 0
        with peopled.begin() as transaction:
            set_flags(transaction, {"auto_approve_threshold": 0.0}, initial=Flags(), actor="a test", reason="lower")
        done = command(peopled, "proposals", "auto-approve", home=tmp_path)
        assert (done.returncode, done.stdout.startswith("0 proposals have")) == (0, True), done.stdout + done.stderr
        assert waiting(peopled)[1] == {"sure"}
        assert settle(engine, 0.0, actor="a test", reason="proposals are off").parked == {"topic": 1, "atom": 0}
    assert len(approve(peopled, key)) == 1


def test_an_undone_proposal_waits_for_a_reviewer_while_proposals_are_off(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    stranded = [rule for rule in rules.RULES if rule.file == STRANDED]
    assert [rules.evaluate(rows, rule).passed for rule in stranded] == [False, False]
    approve(peopled, *proposed.values())
    for key in reversed(proposed.values()):
        decide(peopled, undo, key)
    assert [rules.evaluate(rows, rule).passed for rule in stranded] == [True, True]


@pytest.mark.parametrize("order", [("backups", "restore", "rehearse"), ("rehearse", "restore", "backups")])
def test_decisions_are_undone_in_the_reverse_order_whatever_they_related(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], order: tuple[str, ...]
) -> None:
    before = everything(rows)
    approve(peopled, *(proposed[name] for name in order))
    related = relations(rows)
    for name in reversed(order):
        assert decide(peopled, undo, proposed[name]).status == "pending", name
    after = everything(rows)
    assert [after[name] for name in ("topics", "atoms", "topic_atoms", "atom_links")] == [[]] * 4
    assert len(after["messages"]) == len(before["messages"])
    assert relations(rows)["messages"] == []
    approve(peopled, *(proposed[name] for name in order))
    assert relations(rows) == related


def test_an_atom_that_names_an_undone_topic_by_its_number_is_filed_once_the_topic_is_approved_again(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    later = propose(peopled, Extraction(atoms=(atom("drill", "backups"),)))["drill"]
    assert table(rows, "SELECT proposed_topic_ids FROM atom_proposals WHERE id = %s", later) == [([1],)]
    decide(peopled, undo, proposed["backups"])
    rows.execute("INSERT INTO topics (name, description) VALUES ('other', '')")
    approve(peopled, proposed["backups"], later)
    assert filed(rows) == [("backups", "drill")]


def test_an_undo_is_one_transaction(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    approve(peopled, proposed["backups"])
    before, entries = everything(rows), audit(rows)
    with pytest.raises(KeyboardInterrupt), peopled.begin() as transaction:  # noqa: PT012
        undo(transaction, proposed["backups"], ME)
        raise KeyboardInterrupt
    assert (everything(rows), audit(rows)) == (before, entries)


def test_many_approvals_are_undone_and_those_that_somebody_changed_are_listed(
    peopled: Database, rows: Connection
) -> None:
    keys = propose(peopled, Extraction(topics=tuple(topic(f"topic {n}", 0.6, ()) for n in range(80))))
    approve(peopled, *keys.values())
    rows.execute("UPDATE topics SET description = 'edited' WHERE name IN ('topic 7', 'topic 70')")
    with peopled.begin() as transaction:
        planned = find_approvals(transaction, ALWAYS).approvals
    with peopled.engine() as engine:
        kept = {one.label: one.why for one in undo_approvals(engine, planned, WHO) if one.fate == "kept"}
    assert kept.keys() == {"topic 7", "topic 70"}
    assert all("description" in why for why in kept.values())
    assert waiting(peopled)[0] == {"topic": 78, "atom": 0}
    assert table(rows, "SELECT DISTINCT description FROM topics") == [("edited",)]


# What somebody has done since stays.

CHANGES = {
    "the name": ("backups", "UPDATE topics SET name = 'renamed' WHERE id = 1", "name"),
    "the description": ("backups", "UPDATE topics SET description = '' WHERE id = 1", "description"),
    "the icon": ("backups", "UPDATE topics SET icon = NULL WHERE id = 1", "icon"),
    "the colour": ("backups", "UPDATE topics SET color = '#000000' WHERE id = 1", "color"),
    "the type": ("restore", "UPDATE atoms SET type = 'decision' WHERE id = 2", "type"),
    "the title": ("restore", "UPDATE atoms SET title = 'renamed' WHERE id = 2", "title"),
    "the content": ("restore", "UPDATE atoms SET content = 'edited' WHERE id = 2", "content"),
    "a confidence": ("restore", "UPDATE atoms SET confidence = NULL WHERE id = 2", "confidence"),
    "the meta": ("restore", "UPDATE atoms SET meta = '{}' WHERE id = 2", "meta"),
    "approved by a user": (
        "restore",
        "UPDATE atoms SET user_approved = NOT user_approved WHERE id = 2",
        "user_approved",
    ),
    "a note": ("restore", "UPDATE topic_atoms SET note = 'mine' WHERE atom_id = 2", "topic 1 refers to it"),
    "a position": ("restore", "UPDATE topic_atoms SET position = 3 WHERE atom_id = 2", "topic 1 refers to it"),
    "the type of a link": ("restore", "UPDATE atom_links SET link_type = 'solves'", "atom 1 refers to it"),
    "the strength of a link": ("restore", "UPDATE atom_links SET strength = 0.5", "atom 1 refers to it"),
    "another link": (
        "restore",
        "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) SELECT 2, id, 'solves' FROM atoms "
        "WHERE title = 'by hand'",
        "atom 3 refers to it",
    ),
    "its message, moved by hand": (
        "backups",
        "UPDATE messages SET topic_id = 1 WHERE id = 2",
        "message 2 refers to it",
    ),
    "another message": ("backups", "UPDATE messages SET topic_id = 1 WHERE id = 9", "message 9 refers to it"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_row_that_somebody_has_changed_or_referred_to_since_is_kept_as_it_is(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], change: str
) -> None:
    name, statement, reason = CHANGES[change]
    if name == "backups":
        rows.execute("INSERT INTO topics (id, name, description) VALUES (99, 'older', '')")
        rows.execute("UPDATE messages SET topic_id = 99 WHERE id = 2")
        approve(peopled, proposed["backups"])
    else:
        approve(peopled, proposed["backups"], proposed["rehearse"], proposed["restore"])
        rows.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'by hand', '', true)")
    rows.execute(statement)
    before, entries = everything(rows), audit(rows)
    with pytest.raises(ConflictError, match=reason) as refused:
        decide(peopled, undo, proposed[name])
    assert "then undo again" in str(refused.value)
    assert (everything(rows), audit(rows)) == (before, entries)
    with peopled.begin() as transaction:
        planned = {one.label: one for one in find_approvals(transaction, ALWAYS).approvals}
    assert planned[name].fate == "kept"
    assert reason in planned[name].why


def test_a_row_is_undone_once_it_has_its_approved_values_again(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    rows.execute("UPDATE topics SET description = 'edited'")
    with pytest.raises(ConflictError):
        decide(peopled, undo, proposed["backups"])
    rows.execute("UPDATE topics SET description = (SELECT description FROM topic_proposals), updated_at = now()")
    assert decide(peopled, undo, proposed["backups"]).status == "pending"


def test_an_edit_that_is_under_way_is_kept(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    approve(peopled, proposed["backups"])

    def attempt() -> str:
        with pytest.raises(ConflictError) as refused:
            decide(peopled, undo, proposed["backups"])
        return str(refused.value)

    (message,) = held_up(peopled, rows, "UPDATE topics SET description = 'edited'", attempt)
    assert "description" in message
    assert table(rows, "SELECT description FROM topics") == [("edited",)]


def test_every_value_that_an_undo_removes_is_in_the_audit_log(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("UPDATE messages SET topic_id = NULL")
    approve(peopled, *proposed.values())
    before = {name: [row[0] for row in found] for name, found in everything(rows).items()}
    for name in ("rehearse", "restore", "backups"):
        decide(peopled, undo, proposed[name])
    removed = [
        row[0]
        for row in table(
            rows, "SELECT before -> 'removed' FROM migration.audit_log WHERE action = 'undo proposal' ORDER BY id"
        )
    ]
    for name in ("topics", "atoms", "topic_atoms", "atom_links"):
        kept = [row for one in removed for row in one.get(name, [])]
        assert sorted(kept, key=repr) == sorted(before[name], key=repr), name
    assert removed[-1]["messages"] == [[1, 1], [1, 2]]


def test_a_relation_that_a_user_has_changed_stays_when_a_merge_is_undone(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', '')")
    decide(peopled, review.merge, proposed["backups"], 1)
    approve(peopled, proposed["restore"], proposed["rehearse"])
    rows.execute("UPDATE topic_atoms SET note = 'mine' WHERE atom_id = 1")
    decide(peopled, undo, proposed["backups"])
    assert relations(rows)["topic_atoms"] == [("target", "restore", "mine")]
