"""What an undo removes, what keeps a row, and what it never deletes or changes."""

from uuid import UUID

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review
from knowledge_migration.knowledge.proposals.review import Decision
from knowledge_migration.knowledge.proposals.undo import undo as undo_decision
from knowledge_migration.knowledge.writing.direct import write_direct
from knowledge_migration.knowledge.writing.manual_edits import record_origin
from knowledge_migration.knowledge.writing.proposing import write_proposals
from knowledge_migration.knowledge.writing.runs import open_run
from knowledge_migration_tests.engine.backfill.backfilling import backfill
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ME,
    ORIGIN,
    PAIR,
    approve,
    at_once,
    audit,
    broken_rules,
    decide,
    filed,
    held_up,
    propose,
    relations,
    table,
    wait_for,
)

TARGETS = """
INSERT INTO topics (name, description) VALUES ('target', 'as it is'), ('another', '');
INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'kept', 'as it is', false);
"""


@pytest.fixture
def proposed(peopled: Database) -> dict[str, UUID]:
    """One topic and two linked atoms that wait."""
    return propose(peopled)


def undo(database: Database, key: UUID) -> Decision:
    return decide(database, undo_decision, key)


# An approval that made a row.


def test_a_row_that_nothing_refers_to_is_removed_with_all_that_it_was_given(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    decision = undo(peopled, proposed["backups"])
    assert (decision.status, decision.entity_id, decision.changed) == ("pending", None, True)
    assert table(rows, "SELECT count(*) FROM topics") == [(0,)]
    assert relations(rows) == {"topic_atoms": [], "atom_links": [], "messages": []}
    assert table(rows, "SELECT status, entity_id, review_action, reviewed_by_user_id FROM topic_proposals") == [
        ("pending", None, "undo", 1)
    ]
    assert audit(rows)[-1][1:5] == ("undo proposal", f"topic proposal {proposed['backups']}", "approved", "pending")
    assert undo(peopled, proposed["backups"]).changed is False
    assert len(audit(rows)) == 2
    assert broken_rules(rows) == []


def test_an_atom_goes_with_its_own_relations_and_leaves_those_of_others(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"], proposed["rehearse"], proposed["restore"])
    assert undo(peopled, proposed["restore"]).status == "pending"
    assert filed(rows) == [("backups", "rehearse")]
    assert relations(rows)["atom_links"] == []
    assert table(rows, "SELECT title FROM atoms") == [("rehearse",)]
    approve(peopled, proposed["restore"])
    assert filed(rows) == [("backups", "rehearse"), ("backups", "restore")]
    assert relations(rows)["atom_links"] == [("restore", "rehearse", "supports")]


REFERRING_TO_THE_TOPIC = {
    "an atom of a user": "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'other', '', false);"
    "INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1, id FROM atoms",
    "another message": "UPDATE messages SET topic_id = 1 WHERE id = 50",
    "its atom": None,
    "a merged proposal": None,
    "a matched proposal": None,
}


@pytest.mark.parametrize("reference", list(REFERRING_TO_THE_TOPIC))
def test_a_topic_that_others_refer_to_is_kept(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], reference: str
) -> None:
    approve(peopled, proposed["backups"])
    statement = REFERRING_TO_THE_TOPIC[reference]
    if statement:
        rows.execute(statement)
    elif reference == "its atom":
        approve(peopled, proposed["restore"])
    elif reference == "a merged proposal":
        (other,) = propose(peopled, Extraction(topics=(topic("archives"),))).values()
        decide(peopled, review.merge, other, 1)
        rows.execute("UPDATE messages SET topic_id = NULL")
    else:
        approve(peopled, propose(peopled)["backups"])
    before = relations(rows), audit(rows)
    with pytest.raises(ConflictError, match=r"Topic 1 stays: (proposal|atom|message) .* refers to it"):
        undo(peopled, proposed["backups"])
    assert (relations(rows), audit(rows)) == before
    assert table(rows, "SELECT status FROM topic_proposals WHERE entity_id = 1") == [("approved",)]
    assert broken_rules(rows) == []


@pytest.mark.parametrize("reference", ["an incoming link", "a topic of a user", "a merged proposal"])
def test_an_atom_that_others_refer_to_is_kept(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], reference: str
) -> None:
    approve(peopled, proposed["backups"], proposed["rehearse"])
    if reference == "an incoming link":
        approve(peopled, proposed["restore"])
    elif reference == "a topic of a user":
        rows.execute("INSERT INTO topics (name, description) VALUES ('other', '')")
        rows.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (2, 1)")
    else:
        (other,) = propose(peopled, Extraction(atoms=(atom("drill", "none"),))).values()
        decide(peopled, review.merge, other, 1)
    before = relations(rows), audit(rows)
    with pytest.raises(ConflictError, match=r"Atom 1 stays: (proposal|atom|topic) .* refers to it"):
        undo(peopled, proposed["rehearse"])
    assert (relations(rows), audit(rows)) == before


def test_a_proposal_that_is_only_similar_to_the_row_does_not_keep_it(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    similar = propose(peopled, Extraction(topics=(topic("backup", 0.6, (5,)),)))["backup"]
    rows.execute(
        "UPDATE topic_proposals SET similar_topic_id = 1, similarity_score = 0.8, similarity_type = 'spelling' "
        "WHERE name = 'backup'"
    )
    assert approve(peopled, similar) == [2]
    assert undo(peopled, proposed["backups"]).status == "pending"
    assert table(rows, "SELECT name FROM topics") == [("backup",)]
    assert table(rows, "SELECT status, similar_topic_id FROM topic_proposals WHERE name = 'backup'") == [
        ("approved", None)
    ]


def test_what_was_kept_is_undone_once_nothing_refers_to_it_any_more(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, *proposed.values())
    with pytest.raises(ConflictError, match="atoms 1, 2 refer to it"):
        undo(peopled, proposed["backups"])
    assert [undo(peopled, proposed[name]).status for name in ("restore", "rehearse", "backups")] == ["pending"] * 3
    assert table(rows, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atoms)") == [(0, 0)]


def test_a_row_whose_name_a_user_changed_stays_though_the_name_is_free_again(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    rows.execute("UPDATE topics SET name = 'renamed'; INSERT INTO topics (name, description) VALUES ('backups', '')")
    before, entries = table(rows, "SELECT * FROM topics ORDER BY id"), audit(rows)
    with pytest.raises(ConflictError, match="has changed its name"):
        undo(peopled, proposed["backups"])
    assert (table(rows, "SELECT * FROM topics ORDER BY id"), audit(rows)) == (before, entries)


# An approval that matched, a merge, a rejection.


def test_an_undone_match_leaves_the_row_and_takes_the_relations(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('backups', 'older')")
    rows.execute("UPDATE messages SET topic_id = 1 WHERE id = 2")
    approve(peopled, proposed["restore"], proposed["backups"])
    assert relations(rows)["messages"] == [(1, "backups"), (2, "backups")]
    decision = undo(peopled, proposed["backups"])
    assert (decision.status, decision.entity_id) == ("pending", None)
    assert table(rows, "SELECT name, description FROM topics") == [("backups", "older")]
    assert (filed(rows), relations(rows)["messages"]) == ([], [(2, "backups")])
    assert table(
        rows, "SELECT status, similar_topic_id, similarity_score, similarity_type, review_action FROM topic_proposals"
    ) == [("pending", None, None, None, "undo")]
    assert undo(peopled, proposed["backups"]).changed is False
    approve(peopled, proposed["backups"])
    assert filed(rows) == [("backups", "restore")]


@pytest.mark.parametrize("topic_first", [True, False])
def test_an_undone_merge_takes_all_it_made_in_any_order_and_nothing_else(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], topic_first: bool
) -> None:
    rows.execute(TARGETS)
    rows.execute(
        "INSERT INTO topic_atoms (topic_id, atom_id) VALUES (1, 1); UPDATE messages SET topic_id = 1 WHERE id = 7"
    )
    if topic_first:
        decide(peopled, review.merge, proposed["backups"], 1)
    approve(peopled, proposed["restore"])
    rows.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (2, 2)")
    approve(peopled, proposed["rehearse"])
    if not topic_first:
        decide(peopled, review.merge, proposed["backups"], 1)
    assert filed(rows) == [("another", "restore"), ("target", "kept"), ("target", "rehearse"), ("target", "restore")]
    undo(peopled, proposed["backups"])
    assert filed(rows) == [("another", "restore"), ("target", "kept")]
    assert relations(rows)["messages"] == [(7, "target")]
    assert relations(rows)["atom_links"] == [("restore", "rehearse", "supports")]
    decide(peopled, review.merge, proposed["backups"], 2)
    assert filed(rows) == [("another", "rehearse"), ("another", "restore"), ("target", "kept")]
    assert relations(rows)["messages"] == [(1, "another"), (2, "another"), (7, "target")]
    undo(peopled, proposed["backups"])
    assert filed(rows) == [("another", "restore"), ("target", "kept")]


def test_a_relation_that_a_user_made_before_the_merge_stays_when_it_is_undone(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute(TARGETS)
    approve(peopled, proposed["restore"], proposed["rehearse"])
    decide(peopled, review.merge, proposed["backups"], 1)
    undo(peopled, proposed["backups"])
    rows.execute(
        "INSERT INTO topic_atoms (topic_id, atom_id, note) SELECT 1, id, 'mine' FROM atoms WHERE title = 'restore'"
    )
    decide(peopled, review.merge, proposed["backups"], 1)
    undo(peopled, proposed["backups"])
    assert relations(rows)["topic_atoms"] == [("target", "restore", "mine")]


def test_a_relation_that_another_proposal_asks_for_as_well_stays_until_both_are_undone(
    peopled: Database, rows: Connection
) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled, Extraction(topics=(topic("a"), topic("b")), atoms=(atom("x", "a"), atom("y", "b"))))
    rows.execute("UPDATE atom_proposals SET proposed_topic_ids = (SELECT jsonb_agg(id) FROM topic_proposals)")
    approve(peopled, proposed["x"])
    for name in ("a", "b"):
        decide(peopled, review.merge, proposed[name], 1)
    assert filed(rows) == [("target", "x")]
    undo(peopled, proposed["a"])
    assert filed(rows) == [("target", "x")]
    assert relations(rows)["messages"] == [(1, "target")]
    undo(peopled, proposed["b"])
    assert relations(rows) == {"topic_atoms": [], "atom_links": [], "messages": []}


def test_an_undone_merge_of_an_atom_takes_links_of_both_directions(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute(TARGETS)
    approve(peopled, proposed["backups"], proposed["restore"])
    decide(peopled, review.merge, proposed["rehearse"], 1)
    assert relations(rows)["atom_links"] == [("restore", "kept", "supports")]
    undo(peopled, proposed["rehearse"])
    assert (relations(rows)["atom_links"], filed(rows)) == ([], [("backups", "restore")])
    assert undo(peopled, proposed["restore"]).status == "pending"
    decide(peopled, review.merge, proposed["restore"], 1)
    approve(peopled, proposed["rehearse"])
    assert relations(rows)["atom_links"] == [("kept", "rehearse", "supports")]
    undo(peopled, proposed["restore"])
    assert (relations(rows)["atom_links"], filed(rows)) == ([], [("backups", "rehearse")])


def test_an_undone_rejection_waits_again_and_may_be_approved(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["backups"])
    assert undo(peopled, proposed["backups"]).status == "pending"
    assert undo(peopled, proposed["backups"]).changed is False
    assert approve(peopled, proposed["backups"]) == [1]


# Rows that were there before their proposals.


LEGACY = """
INSERT INTO topics (name, description) VALUES ('legacy', 'as it was');
INSERT INTO atoms (type, title, content, user_approved, confidence) VALUES ('insight', 'legacy', 'as it was', true, 0.5),
    ('insight', 'unsure', 'as it was', true, NULL);
"""


def test_a_backfilled_row_is_never_deleted_nor_changed(peopled: Database, rows: Connection) -> None:
    rows.execute(LEGACY)
    backfill(peopled)
    rows.execute("UPDATE topics SET description = 'edited'; UPDATE atoms SET content = 'edited', meta = '{\"a\": 1}'")
    query = "SELECT to_jsonb(one) FROM {} AS one ORDER BY 1"
    before = [table(rows, query.format(one)) for one in ("topics", "atoms", "topic_proposals", "atom_proposals")]
    for kind in (TOPIC, ATOM):
        for (key,) in table(rows, f"SELECT id FROM {kind.name}_proposals"):  # noqa: S608
            with pytest.raises(ConflictError, match=r"existed before this proposal.*rollback backfill"):
                undo(peopled, key)
    assert before == [
        table(rows, query.format(one)) for one in ("topics", "atoms", "topic_proposals", "atom_proposals")
    ]


def test_a_backfilled_row_that_a_user_deleted_stays_deleted(peopled: Database, rows: Connection) -> None:
    rows.execute(LEGACY)
    backfill(peopled)
    rows.execute("DELETE FROM topics; DELETE FROM atoms")
    before = table(rows, "SELECT * FROM atom_proposals ORDER BY id")
    for kind in ("topic", "atom"):
        for (key,) in table(rows, f"SELECT id FROM {kind}_proposals"):  # noqa: S608
            with pytest.raises(ConflictError, match="deleted by a user"):
                undo(peopled, key)
            assert decide(peopled, review.approve, key).changed is False
    assert table(rows, "SELECT * FROM atom_proposals ORDER BY id") == before
    assert broken_rules(rows, "") == []


@pytest.mark.parametrize("kind", [TOPIC, ATOM], ids=["topic", "atom"])
def test_a_row_that_a_user_wrote_by_hand_is_never_deleted_nor_changed(
    peopled: Database, rows: Connection, kind: EntityKind
) -> None:
    rows.execute(TARGETS)
    with peopled.begin() as transaction:
        key = record_origin(transaction, kind, 1, "a test")
    detail = "description" if kind is TOPIC else "content"
    rows.execute(f"UPDATE {kind.name}s SET {detail} = 'edited' WHERE id = 1")  # noqa: S608
    with pytest.raises(ConflictError, match=r"existed before this proposal.*rollback dual-write"):
        undo(peopled, key)
    assert table(rows, f"SELECT {detail} FROM {kind.name}s WHERE id = 1") == [("edited",)]  # noqa: S608
    rows.execute(f"DELETE FROM {kind.name}s WHERE id = 1")  # noqa: S608
    with pytest.raises(ConflictError, match="deleted by a user"):
        undo(peopled, key)


def test_what_dual_write_extracted_is_undone_with_the_relations_of_direct_mode(
    peopled: Database, rows: Connection
) -> None:
    with peopled.begin() as transaction:
        direct = write_direct(transaction, PAIR, 0.5)
        written = write_proposals(transaction, open_run(transaction, ORIGIN), ORIGIN, PAIR, direct)
    restore, rehearse = written.atom_proposal_ids
    assert [undo(peopled, key).status for key in (restore, rehearse, *written.topic_proposal_ids)] == ["pending"] * 3
    assert relations(rows) == {"topic_atoms": [], "atom_links": [], "messages": []}
    assert table(rows, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atoms)") == [(0, 0)]


def test_a_row_that_a_user_deleted_leaves_its_proposal_for_review(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, *proposed.values())
    rows.execute("DELETE FROM topic_atoms; DELETE FROM atom_links; DELETE FROM atoms WHERE title = 'restore'")
    assert broken_rules(rows) == []
    assert decide(peopled, review.approve, proposed["restore"]).changed is False
    decision = undo(peopled, proposed["restore"])
    assert (decision.status, decision.entity_id) == ("pending", None)
    assert undo(peopled, proposed["restore"]).changed is False
    approve(peopled, proposed["restore"])
    assert filed(rows) == [("backups", "restore")]
    assert relations(rows)["atom_links"] == [("restore", "rehearse", "supports")]


def test_a_proposal_whose_matched_atom_a_user_deleted_is_no_orphan(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'restore', 'what restore says', false)"
    )
    approve(peopled, proposed["restore"], proposed["rehearse"])
    rows.execute("DELETE FROM atom_links; DELETE FROM atoms WHERE id = 1")
    assert broken_rules(rows) == []


# At once.


def test_those_who_undo_at_once_take_turns(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    approve(peopled, proposed["backups"])
    works = [lambda: undo(peopled, proposed["backups"])] * 3
    decisions = held_up(peopled, rows, "SELECT FROM topics FOR UPDATE", *works)
    assert sorted(one.changed for one in decisions) == [False, False, True]
    assert {one.status for one in decisions} == {"pending"}


def test_an_atom_that_is_approved_while_its_topic_is_undone_is_filed_or_has_no_topic(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    undone, _ = held_up(
        peopled,
        rows,
        "SELECT FROM knowledge_extraction_runs FOR UPDATE",
        lambda: _attempt(peopled, proposed["backups"]),
        lambda: decide(peopled, review.approve, proposed["restore"]),
    )
    assert filed(rows) == ([] if undone == "pending" else [("backups", "restore")])
    assert broken_rules(rows) == []


def _attempt(database: Database, key: UUID) -> str:
    try:
        return undo(database, key).status
    except ConflictError as error:
        return str(error)


@pytest.mark.parametrize(
    "reference",
    ["INSERT INTO topic_atoms (topic_id, atom_id) VALUES (1, 1)", "UPDATE messages SET topic_id = 1 WHERE id = 9"],
)
def test_a_row_that_a_user_refers_to_at_that_moment_is_kept(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], reference: str
) -> None:
    approve(peopled, proposed["backups"])
    rows.execute(TARGETS)
    (message,) = held_up(peopled, rows, reference, lambda: _attempt(peopled, proposed["backups"]))
    assert message.startswith("Topic 1 stays: ")
    assert table(rows, "SELECT name FROM topics WHERE id = 1") == [("backups",)]


def test_a_proposal_that_is_merged_into_a_row_at_that_moment_keeps_it(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    other = propose(peopled, Extraction(topics=(topic("archives", 0.6, (9,)),)))["archives"]
    with peopled.begin() as merging:
        review.merge(merging, other, 1, ME)
        with at_once(lambda: _attempt(peopled, proposed["backups"])) as (undoing,):
            wait_for(rows, 1)
            merging.commit()
            assert undoing.result(30).startswith("Topic 1 stays: proposal")
    assert relations(rows)["messages"] == [(1, "backups"), (2, "backups"), (9, "backups")]
