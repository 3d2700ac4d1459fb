"""A reviewer corrects a proposal and approves it in one: row, proposal and audit agree, and an undo brings the proposed back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.errors import ConflictError, InvalidError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals import review
from knowledge_migration.knowledge.proposals.approval_recovery import WrongApprovals, find_approvals, undo_approvals
from knowledge_migration.knowledge.proposals.auto_approval import eligible
from knowledge_migration.knowledge.proposals.duplicate_proposals import duplicate_groups, resolve
from knowledge_migration.knowledge.proposals.editing import CORRECTIONS
from knowledge_migration.knowledge.proposals.link_conflicts import link_conflicts
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration.knowledge.proposals.stranded import settle
from knowledge_migration.knowledge.proposals.undo import undo as undo_decision
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ME,
    SYSTEM,
    approve,
    broken_rules,
    decide,
    filed,
    held_up,
    propose,
    relations,
    table,
)

SECOND = Reviewer("a second test", 2)
TOPIC_VALUES = {"name": "Backups", "description": "How they are made", "icon": None, "color": "#00ff00"}
ATOM_VALUES = {
    "type": "decision",
    "title": "Restore weekly",
    "content": "On Mondays",
    "meta": {"by": ["hand", True, None]},
}
TOPIC_PROPOSAL = "SELECT status, name, description, icon, color, entity_id FROM topic_proposals WHERE id = %s"
ATOM_PROPOSAL = "SELECT status, type, title, content, meta, confidence FROM atom_proposals WHERE id = %s"
LAST_ENTRY = (
    "SELECT action, before, after FROM migration.audit_log WHERE subject LIKE '%%proposal%%' ORDER BY id DESC LIMIT 1"
)
SAME_VERSION = (
    "SELECT t.xmin = p.xmin FROM topics t JOIN topic_proposals p ON p.id = t.migrated_from_proposal_id UNION ALL "
    "SELECT a.xmin = p.xmin FROM atoms a JOIN atom_proposals p ON p.id = a.migrated_from_proposal_id"
)


@pytest.fixture
def proposed(peopled: Database) -> dict[str, UUID]:
    """One topic and two linked atoms that wait."""
    return propose(peopled)


def edit(database: Database, key: UUID, reviewer: Reviewer = ME, **changes: Any) -> Decision:
    """An edited approval in a transaction of its own."""
    with database.begin() as transaction:
        return review.approve(transaction, key, reviewer, changes=changes)


def undo(database: Database, key: UUID) -> Decision:
    return decide(database, undo_decision, key)


def last_entry(rows: Connection) -> tuple[str, dict[str, Any], dict[str, Any]]:
    ((action, before, after),) = table(rows, LAST_ENTRY)
    return action, before, after


def everything(rows: Connection) -> list[list[tuple[Any, ...]]]:
    """All that a decision could change."""
    names = ("topics", "atoms", "topic_proposals", "atom_proposals", "topic_atoms", "atom_links", "migration.audit_log")
    whole = [table(rows, f"SELECT t::text FROM {name} t ORDER BY 1") for name in names]  # noqa: S608
    return [*whole, relations(rows)["messages"]]


def test_an_edited_topic_becomes_the_row_the_proposal_and_the_audit_entry(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    ((_, _, _, icon, color, _),) = table(rows, TOPIC_PROPOSAL, proposed["backups"])
    decision = edit(peopled, proposed["backups"], **TOPIC_VALUES)
    assert (decision.status, decision.entity_id, decision.changed) == ("approved", 1, True)
    assert table(rows, "SELECT id, name, description, icon, color, migrated_from_proposal_id FROM topics") == [
        (1, *TOPIC_VALUES.values(), proposed["backups"])
    ]
    assert table(rows, TOPIC_PROPOSAL, proposed["backups"]) == [("approved", *TOPIC_VALUES.values(), 1)]
    assert table(rows, "SELECT review_action, confidence, reviewed_by_user_id, review_notes FROM topic_proposals") == [
        ("approve", 0.6, 1, "looks right")
    ]
    assert last_entry(rows) == (
        "approve proposal",
        {
            "status": "pending",
            "values": {"name": "backups", "description": "about backups", "icon": icon, "color": color},
        },
        {
            "status": "approved",
            "entity_id": 1,
            "topic_atoms": [],
            "atom_links": [],
            "messages": [[1, 1], [1, 2]],
            "values": TOPIC_VALUES,
        },
    )
    assert table(rows, SAME_VERSION) == [(True,)]  # so that the comparison of values judges the pair
    assert broken_rules(rows) == []


def test_an_edited_atom_keeps_the_confidence_of_the_model(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"], proposed["rehearse"])
    assert edit(peopled, proposed["restore"], **ATOM_VALUES).entity_id == 2
    assert table(rows, "SELECT type, title, content, meta, confidence, user_approved FROM atoms WHERE id = 2") == [
        (*ATOM_VALUES.values(), 0.6, True)
    ]
    assert table(rows, ATOM_PROPOSAL, proposed["restore"]) == [("approved", *ATOM_VALUES.values(), 0.6)]
    assert relations(rows)["topic_atoms"] == [
        ("backups", "Restore weekly", "Extracted with confidence 0.60"),
        ("backups", "rehearse", "Extracted with confidence 0.60"),
    ]
    assert relations(rows)["atom_links"] == [("Restore weekly", "rehearse", "supports")]
    assert table(rows, SAME_VERSION) == [(True,)] * 3
    assert broken_rules(rows) == []


def test_only_what_differs_is_in_the_audit_entry(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["restore"], type="insight", title="restore", content="On Mondays")
    _, before, after = last_entry(rows)
    assert (before["values"], after["values"]) == ({"content": "what restore says"}, {"content": "On Mondays"})


def test_a_meta_that_is_taken_away_is_null_in_both(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["restore"], meta=None)
    query = (
        "SELECT a.meta IS NULL, p.meta IS NULL FROM atoms a JOIN atom_proposals p ON p.id = a.migrated_from_proposal_id"
    )
    assert table(rows, query) == [(True, True)]
    undo(peopled, proposed["restore"])
    assert table(rows, "SELECT count(*) FROM atom_proposals WHERE meta IS NULL") == [(0,)]
    assert broken_rules(rows) == []


@pytest.mark.parametrize(
    "changes", [None, {}, {"name": "backups"}, {"name": " backups\n", "description": "about backups"}]
)
def test_values_that_are_the_present_ones_are_no_change(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], changes: dict[str, Any] | None
) -> None:
    with peopled.begin() as transaction:
        assert review.approve(transaction, proposed["backups"], ME, changes=changes).changed
    _, before, after = last_entry(rows)
    assert (before, "values" in after) == ({"status": "pending"}, False)


METAS: tuple[tuple[Any, Any, bool], ...] = (
    ({"n": [1]}, {"n": [1.0]}, False),
    ({"n": [1], "m": {}}, {"m": {}, "n": [1]}, False),
    ({"n": [1]}, {"n": [True]}, True),
    ({"n": 0}, {"n": False}, True),
    ({"n": None}, {}, True),
    ({"n": [1, 2]}, {"n": [1]}, True),
    (None, {}, True),
    ({}, None, True),
)
"""The present meta, the given one, and whether that is a change."""


def test_metas_are_compared_as_json(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    for present, given, changes in METAS:
        rows.execute("UPDATE atom_proposals SET meta = %s::jsonb", (None if present is None else json.dumps(present),))
        edit(peopled, proposed["restore"], meta=given)
        assert ("values" in last_entry(rows)[1]) is changes, (present, given)
        assert broken_rules(rows) == [], (present, given)
        undo(peopled, proposed["restore"])


def test_what_was_proposed_and_could_not_be_corrected_to_is_approved_as_it_is(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("UPDATE topic_proposals SET name = ' backups ', color = 'blue'")
    edit(peopled, proposed["backups"], name=" backups ", color="blue", description="How they are made")
    assert table(rows, "SELECT name, description, color FROM topics") == [(" backups ", "How they are made", "blue")]
    assert last_entry(rows)[1]["values"] == {"description": "about backups"}


def nested(depth: int) -> Any:
    return [] if depth == 0 else [nested(depth - 1)]


REFUSED: dict[str, tuple[str, dict[Any, Any], str]] = {
    "an unknown field": ("backups", {"nome": "x"}, "nome: this cannot be corrected of a topic proposal; name,"),
    "a field of the other kind": (
        "restore",
        {"name": "x"},
        "name: this cannot be corrected of an atom proposal; type,",
    ),
    "the confidence": ("restore", {"confidence": 1.0}, "confidence: this cannot be corrected"),
    "the confidence as it is": ("restore", {"confidence": 0.6}, "confidence: this cannot be corrected"),
    "the state": ("backups", {"status": "pending"}, "status: this cannot be corrected"),
    "a field without a name": ("backups", {None: "x"}, "None: this cannot be corrected"),
    "an empty name": ("backups", {"name": ""}, "name: String should have at least 1 character"),
    "a name of spaces": ("backups", {"name": " \t\n"}, "name: String should have at least 1 character"),
    "no name": ("backups", {"name": None}, "name: Input should be a valid string"),
    "a name that is none": ("backups", {"name": 7}, "name: Input should be a valid string"),
    "a name too long": ("backups", {"name": "x" * 101}, "name: String should have at most 100 characters"),
    "NUL in a name": ("backups", {"name": "a\x00b"}, "name: .*NUL character"),
    "half a surrogate pair": ("backups", {"description": "\ud800"}, "description: .*unicode string"),
    "no description": ("backups", {"description": None}, "description: Input should be a valid string"),
    "a description too long": ("backups", {"description": "x" * 100_001}, "description: .*at most 100000 characters"),
    "an icon too long": ("backups", {"icon": "x" * 51}, "icon: String should have at most 50 characters"),
    "a color that is none": ("backups", {"color": "red"}, "color: String should match pattern"),
    "an empty title": ("restore", {"title": ""}, "title: String should have at least 1 character"),
    "a title too long": ("restore", {"title": "x" * 201}, "title: String should have at most 200 characters"),
    "a wrong type": ("restore", {"type": "rumour"}, "type: Input should be 'problem', 'solution'"),
    "no content": ("restore", {"content": None}, "content: Input should be a valid string"),
    "NUL in the content": ("restore", {"content": "\x00"}, "content: .*NUL character"),
    "a meta that is a list": ("restore", {"meta": [1]}, "meta: Input should be a valid dictionary"),
    "NUL in the meta": ("restore", {"meta": {"a": ["\x00"]}}, "meta: .*NUL character"),
    "NUL in a key of the meta": ("restore", {"meta": {"a": {"\x00": 1}}}, "meta: .*NUL character"),
    "a number that is not finite": ("restore", {"meta": {"a": float("inf")}}, "meta: .*not finite"),
    "a meta too deep": ("restore", {"meta": {"a": nested(101)}}, "meta: .*nested deeper than 100"),
    "a meta that is no JSON": ("restore", {"meta": {"a": datetime(2026, 1, 1, tzinfo=UTC)}}, "meta: .*not a datetime"),
    "a key that is no text": ("restore", {"meta": {"a": {1: 2}}}, "meta: .*texts as the names"),
    "two at once": ("backups", {"name": "", "color": "red"}, "name: .*; color: "),
    "one of two": ("restore", {"title": "fine", "type": ""}, "type: Input should be"),
}


def test_what_cannot_be_is_refused_by_name_and_nothing_is_changed(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    before = everything(rows)
    with peopled.engine() as engine:
        for name, changes, words in REFUSED.values():
            with engine.begin() as transaction, pytest.raises(InvalidError, match=f"^{words}"):
                review.approve(transaction, proposed[name], ME, changes=changes)
            assert everything(rows) == before, words


# Matches and flags.


def test_a_topic_edited_to_an_existing_name_stands_for_that_topic(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('disks', 'older')")
    rows.execute(
        "UPDATE topic_proposals SET similar_topic_id = 1, similarity_score = 0.8, similarity_type = 'spelling'"
    )
    approve(peopled, proposed["restore"])
    decision = edit(peopled, proposed["backups"], name="disks", description="newer")
    assert (decision.status, decision.entity_id, decision.changed) == ("approved", 1, True)
    assert table(rows, "SELECT name, description, migrated_from_proposal_id FROM topics") == [("disks", "older", None)]
    assert table(
        rows,
        "SELECT name, description, entity_id, similar_topic_id, similarity_score, similarity_type FROM topic_proposals",
    ) == [("disks", "newer", None, 1, 1.0, "exact")]
    assert (filed(rows), relations(rows)["messages"]) == ([("disks", "restore")], [(1, "disks"), (2, "disks")])
    assert broken_rules(rows) == []
    assert undo(peopled, proposed["backups"]).status == "pending"
    assert table(rows, "SELECT name, description, similar_topic_id, similarity_type FROM topic_proposals") == [
        ("backups", "about backups", None, None)
    ]
    assert (filed(rows), relations(rows)["messages"]) == ([], [])
    assert table(rows, "SELECT name, description FROM topics") == [("disks", "older")]


def test_an_atom_edited_to_the_text_of_an_existing_one_stands_for_that_atom(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'restore', 'by hand', false), "
        "('decision', 'restore', 'what restore says', false)"
    )
    assert edit(peopled, proposed["restore"], content="by hand").entity_id == 1
    assert table(
        rows, "SELECT content, similar_atom_id, similarity_type FROM atom_proposals WHERE title = 'restore'"
    ) == [("by hand", 1, "exact")]
    undo(peopled, proposed["restore"])
    assert edit(peopled, proposed["restore"], type="decision", meta={}).entity_id == 2
    undo(peopled, proposed["restore"])
    assert edit(peopled, proposed["restore"], title="another").entity_id == 3
    assert table(rows, "SELECT type, title, content FROM atoms ORDER BY id") == [
        ("insight", "restore", "by hand"),
        ("decision", "restore", "what restore says"),
        ("insight", "another", "what restore says"),
    ]
    assert broken_rules(rows) == []


@pytest.mark.parametrize("similarity", ["exact", "spelling"])
def test_a_flagged_topic_that_is_renamed_makes_a_row_of_its_own_and_stands_for_that(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], similarity: str
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('backups', 'older')")
    rows.execute(
        f"UPDATE topic_proposals SET similar_topic_id = 1, similarity_score = 1, similarity_type = '{similarity}'"  # noqa: S608
    )
    assert edit(peopled, proposed["backups"], name="Backups of disks").entity_id == 2
    assert approve(peopled, proposed["restore"], proposed["backups"]) == [1, 2]
    assert filed(rows) == [("Backups of disks", "restore")]
    with peopled.begin() as transaction:
        assert link_conflicts(transaction) == []
    assert broken_rules(rows) == []
    assert undo(peopled, proposed["restore"]).status == "pending"
    assert undo(peopled, proposed["backups"]).status == "pending"
    assert table(rows, "SELECT name, similarity_type FROM topic_proposals") == [("backups", similarity)]
    assert approve(peopled, proposed["backups"]) == [1]


# The way back.


UNDONE = {
    "status": "pending",
    "removed": 1,
    "taken_back": {"topic_atoms": [], "atom_links": [], "messages": [[1, 1], [1, 2]]},
}


def test_an_undone_edit_removes_the_row_and_brings_the_proposed_values_back(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    ((_, *was, _),) = table(rows, TOPIC_PROPOSAL, proposed["backups"])
    edit(peopled, proposed["backups"], **TOPIC_VALUES)
    decision = undo(peopled, proposed["backups"])
    assert (decision.status, decision.entity_id, decision.changed) == ("pending", None, True)
    assert table(rows, TOPIC_PROPOSAL, proposed["backups"]) == [("pending", *was, None)]
    action, before_undo, after_undo = last_entry(rows)
    assert before_undo.pop("removed").keys() == {"topics", "messages"}
    assert (action, before_undo, after_undo) == (
        "undo proposal",
        {"status": "approved", "values": TOPIC_VALUES},
        {**UNDONE, "values": dict(zip(TOPIC_VALUES, was, strict=True))},
    )
    before = everything(rows)
    assert undo(peopled, proposed["backups"]).changed is False
    assert everything(rows) == before
    assert broken_rules(rows) == []


def test_edited_and_plain_approvals_and_undos_follow_each_other_in_any_order(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    was = table(rows, ATOM_PROPOSAL, proposed["restore"])[0][1:]
    tried: list[dict[str, Any]] = [{"title": "a"}, {}, {"content": "b", "meta": None}, {}, ATOM_VALUES, {"title": "a"}]
    for changes in tried:
        wanted = dict(zip(("type", "title", "content", "meta", "confidence"), was, strict=True)) | changes
        assert edit(peopled, proposed["restore"], **changes).changed
        assert table(rows, "SELECT type, title, content, meta, confidence FROM atoms") == [tuple(wanted.values())]
        assert table(rows, ATOM_PROPOSAL, proposed["restore"]) == [("approved", *wanted.values())]
        assert broken_rules(rows) == []
        assert undo(peopled, proposed["restore"]).status == "pending"
        assert table(rows, ATOM_PROPOSAL, proposed["restore"]) == [("pending", *was)]
    assert table(rows, "SELECT count(*) FROM atoms") == [(0,)]


def test_a_row_that_others_refer_to_or_a_user_renamed_stays_and_the_proposal_keeps_the_edited_values(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["backups"], name="Backups")
    approve(peopled, proposed["restore"])
    rows.execute("UPDATE topics SET name = 'renamed by a user'")
    with pytest.raises(ConflictError, match="has changed its name"):
        undo(peopled, proposed["backups"])
    rows.execute("UPDATE topics SET name = 'Backups'")
    with pytest.raises(ConflictError, match="atom 1 refers to it"):
        undo(peopled, proposed["backups"])
    assert table(rows, "SELECT name FROM topics UNION ALL SELECT name FROM topic_proposals") == [("Backups",)] * 2
    assert undo(peopled, proposed["restore"]).status == "pending"
    assert undo(peopled, proposed["backups"]).status == "pending"  # now the approval itself is taken back
    assert table(rows, "SELECT name FROM topic_proposals") == [("backups",)]
    assert broken_rules(rows) == []


def test_a_row_that_a_user_deleted_leaves_its_proposal_for_review_as_it_was_proposed(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["restore"], title="Restore weekly")
    rows.execute("DELETE FROM atoms")
    assert undo(peopled, proposed["restore"]).status == "pending"
    assert table(rows, "SELECT title FROM atom_proposals ORDER BY title") == [("rehearse",), ("restore",)]


def forget_the_audit(rows: Connection) -> None:
    rows.execute("ALTER TABLE migration.audit_log DISABLE TRIGGER audit_log_is_append_only")
    rows.execute("DELETE FROM migration.audit_log")


def change_the_proposal(rows: Connection) -> None:
    rows.execute("UPDATE topic_proposals SET name = 'Backups'; UPDATE topics SET name = 'Backups'")


@pytest.mark.parametrize("lost", [forget_the_audit, change_the_proposal])
def test_where_the_audit_does_not_tell_of_the_values_they_stay_as_they_are(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], lost: Callable[[Connection], None]
) -> None:
    edit(peopled, proposed["backups"], name="Backups" if lost is forget_the_audit else "backup copies")
    lost(rows)
    assert undo(peopled, proposed["backups"]).status == "pending"
    assert table(rows, "SELECT status, name FROM topic_proposals") == [("pending", "Backups")]
    assert approve(peopled, proposed["backups"]) == [2]
    assert broken_rules(rows) == []


def test_the_edit_of_an_earlier_approval_is_not_brought_back_by_the_undo_of_a_later_one(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["backups"], name="Backups")
    undo(peopled, proposed["backups"])
    rows.execute("UPDATE topic_proposals SET name = 'Backups'")
    with peopled.begin() as transaction:
        review.approve(transaction, proposed["backups"], SYSTEM, status="auto_approved")
    undo(peopled, proposed["backups"])
    assert table(rows, "SELECT status, name FROM topic_proposals") == [("pending", "Backups")]


# Two reviewers.


def test_what_somebody_else_has_approved_is_not_edited(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    before = everything(rows)
    for changes in (TOPIC_VALUES, {"name": ""}, {"title": "x"}):
        decision = edit(peopled, proposed["backups"], SECOND, **changes)
        assert (decision.status, decision.entity_id, decision.changed) == ("approved", 1, False)
    assert everything(rows) == before


@pytest.mark.parametrize("action", [review.reject, review.merge])
def test_what_is_rejected_or_merged_is_not_edited(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], action: Callable[..., Decision]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', '')")
    decide(peopled, action, proposed["backups"], *([1] if action is review.merge else []))
    before = everything(rows)
    with pytest.raises(ConflictError, match="undo that first"):
        edit(peopled, proposed["backups"], **TOPIC_VALUES)
    assert everything(rows) == before


def test_of_two_who_edit_at_once_exactly_one_wins(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    decisions = held_up(
        peopled,
        rows,
        "SELECT FROM knowledge_extraction_runs FOR UPDATE",
        lambda: edit(peopled, proposed["backups"], ME, name="the first"),
        lambda: edit(peopled, proposed["backups"], SECOND, description="the second"),
    )
    assert sorted(one.changed for one in decisions) == [False, True]
    first_won = decisions[0].changed
    wanted = ("the first", "about backups", 1) if first_won else ("backups", "the second", 2)
    assert table(rows, "SELECT name, description FROM topics") == [wanted[:2]]
    assert table(rows, "SELECT name, description, reviewed_by_user_id FROM topic_proposals") == [wanted]
    assert table(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'approve proposal'") == [(1,)]
    assert broken_rules(rows) == []


def test_an_edit_and_an_undo_at_once_take_turns(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    edit(peopled, proposed["backups"], name="Backups")
    undone, edited = held_up(
        peopled,
        rows,
        "SELECT FROM knowledge_extraction_runs FOR UPDATE",
        lambda: undo(peopled, proposed["backups"]),
        lambda: edit(peopled, proposed["backups"], SECOND, name="later"),
    )
    assert undone.changed
    wanted = [("approved", "later")] if edited.changed else [("pending", "backups")]
    assert table(rows, "SELECT status, name FROM topic_proposals") == wanted
    assert table(rows, "SELECT name FROM topics") == ([("later",)] if edited.changed else [])
    assert broken_rules(rows) == []


@pytest.mark.parametrize(("name", "field"), [("backups", "name"), ("restore", "title")])
def test_two_proposals_that_are_edited_to_one_name_at_once_make_one_row(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], name: str, field: str
) -> None:
    keys = (proposed[name], propose(peopled)[name])
    entities = "topics" if field == "name" else "atoms"
    works = [lambda key=key: edit(peopled, key, **{field: "the same"}) for key in keys]
    decisions = held_up(peopled, rows, f"LOCK TABLE {entities} IN SHARE ROW EXCLUSIVE MODE", *works)
    assert [one.changed for one in decisions] == [True, True]
    assert table(rows, f"SELECT id, {field} FROM {entities}") == [(decisions[0].entity_id, "the same")]  # noqa: S608
    assert decisions[0].entity_id == decisions[1].entity_id
    assert broken_rules(rows) == []


def test_a_topic_that_a_user_makes_at_that_moment_is_the_one(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    inserted = "INSERT INTO topics (name, description) VALUES ('disks', 'by hand')"
    (decision,) = held_up(peopled, rows, inserted, lambda: edit(peopled, proposed["backups"], name="disks"))
    assert (decision.entity_id, decision.changed) == (1, True)
    assert table(rows, "SELECT name, description FROM topics") == [("disks", "by hand")]


# What else decides about proposals.


def test_a_wrong_edited_approval_is_taken_back_and_proposed_again(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["backups"], **TOPIC_VALUES)
    edit(peopled, proposed["restore"], **ATOM_VALUES)
    rows.execute("INSERT INTO topics (name, description) VALUES ('disks', 'by hand')")
    (other,) = propose(peopled, Extraction(topics=(topic("discs"),))).values()
    edit(peopled, other, name="disks")
    with peopled.begin() as transaction:
        planned = find_approvals(transaction, WrongApprovals(since=datetime(2020, 1, 1, tzinfo=UTC))).approvals
    with peopled.engine() as engine:
        told = {one.label: one.fate for one in undo_approvals(engine, planned, SYSTEM)}
    assert told == {"Restore weekly": "removed", "disks": "returned", "Backups": "removed"}
    assert table(rows, "SELECT name, status FROM topic_proposals ORDER BY name") == [
        ("backups", "pending"),
        ("discs", "pending"),
    ]
    assert table(rows, "SELECT name FROM topics") == [("disks",)]
    assert broken_rules(rows) == []


def test_an_edited_proposal_is_a_duplicate_by_what_it_says_now(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    edit(peopled, proposed["backups"], name="Disks", description="about disks")
    propose(peopled, Extraction(topics=(topic("backups", 0.6, (3,)), topic("disks", 0.6, (4,)))))
    with peopled.begin() as transaction:
        groups = duplicate_groups(transaction)
    with peopled.engine() as engine:
        assert [one.action for one in resolve(engine, groups, SYSTEM)] == ["merge"]
    assert table(rows, 'SELECT name, status, similar_topic_id FROM topic_proposals ORDER BY name COLLATE "C"') == [
        ("Disks", "approved", None),
        ("backups", "pending", None),
        ("disks", "merged", 1),
    ]
    assert relations(rows)["messages"] == [(1, "Disks"), (2, "Disks"), (4, "Disks")]
    assert broken_rules(rows) == []


def test_an_edit_that_was_taken_back_is_neither_approved_nor_replayed_by_itself(
    peopled: Database, rows: Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('disks', 'by hand')")
    found = Extraction(topics=(topic("discs", 0.99),), atoms=(atom("sure", "discs", 0.99),))
    proposed = propose(peopled, found)
    edit(peopled, proposed["discs"], name="disks")
    assert undo(peopled, proposed["discs"]).status == "pending"
    with peopled.begin() as transaction:
        assert proposed["discs"] not in eligible(transaction, Flags(enabled=True, cutover_percentage=100), 100)
    with peopled.engine() as engine:
        assert settle(engine, 0.7, actor="a test", reason="a test").replayed == {"topic": 0, "atom": 0}
    assert table(rows, "SELECT name, status FROM topic_proposals") == [("discs", "parked")]


def test_every_value_of_a_proposal_but_its_confidence_can_be_corrected() -> None:
    for kind in KINDS:
        assert set(CORRECTIONS[kind.name].model_fields) == set(kind.values) - {"confidence"}
