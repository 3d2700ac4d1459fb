"""Every status and every action: allowed, the same again, or refused; what a rejection and a merge do."""

from collections.abc import Callable, Iterator
from typing import Any, Literal
from uuid import UUID

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.review import Decision
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop
from knowledge_migration_tests.knowledge.conftest import PEOPLE_AND_MESSAGES, atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ME,
    SYSTEM,
    approve,
    audit,
    broken_rules,
    decide,
    filed,
    held_up,
    propose,
    propose_in,
    psycopg_of,
    relations,
    table,
)

Outcome = Literal[
    "pending", "approved", "auto_approved", "rejected", "merged", "withdrawn", "parked", "same", "refused"
]

# status before: what becomes of it by approve, reject, merge into 1, merge into 2, undo. Merged means: into 1.
TRANSITIONS: dict[str, tuple[Outcome, Outcome, Outcome, Outcome, Outcome]] = {
    "pending": ("approved", "rejected", "merged", "merged", "same"),
    "parked": ("approved", "rejected", "merged", "merged", "same"),
    "approved": ("same", "refused", "refused", "refused", "pending"),
    "auto_approved": ("same", "refused", "refused", "refused", "pending"),
    "matched": ("same", "refused", "refused", "refused", "pending"),
    "rejected": ("refused", "same", "refused", "refused", "pending"),
    "merged": ("refused", "refused", "same", "refused", "pending"),
    "withdrawn": ("approved", "rejected", "merged", "merged", "same"),
}
ACTIONS: tuple[Callable[[UUID], tuple[Any, ...]], ...] = (
    lambda key: (review.approve, key),
    lambda key: (review.reject, key),
    lambda key: (review.merge, key, 1),
    lambda key: (review.merge, key, 2),
    lambda key: (undo.undo, key),
)
EVERY = [
    pytest.param(kind, status, place, outcome, id=f"{kind}-{status}-{name}")
    for kind in ("topic", "atom")
    for status, outcomes in TRANSITIONS.items()
    for place, (outcome, name) in enumerate(
        zip(outcomes, ("approve", "reject", "merge", "merge into another", "undo"), strict=True)
    )
]
TARGETS = """
INSERT INTO topics (name, description) VALUES ('target', 'as it is'), ('another', '');
INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'target', 'as it is', false),
    ('insight', 'another', '', false);
"""
TABLES = ("topics", "atoms", "topic_atoms", "atom_links", "topic_proposals", "atom_proposals", "migration.audit_log")


def everything(rows: Connection) -> list[list[tuple[Any, ...]]]:
    return [table(rows, f"SELECT * FROM {one} ORDER BY 1, 2, 3, 4") for one in TABLES]  # noqa: S608


def bring_to(transaction: sa.Connection, key: UUID, kind: str, status: str) -> None:
    """Brings a pending proposal to a status, by the way that leads there."""
    if status == "parked":
        transaction.exec_driver_sql(f"UPDATE {kind}_proposals SET status = 'parked', review_action = 'park'")  # noqa: S608
    elif status == "matched":
        columns = "name, description" if kind == "topic" else "type, title, content, user_approved"
        values = columns.replace("user_approved", "false")
        transaction.exec_driver_sql(f"INSERT INTO {kind}s ({columns}) SELECT {values} FROM {kind}_proposals")  # noqa: S608
        review.approve(transaction, key, ME)
    elif status == "auto_approved":
        review.approve(transaction, key, SYSTEM, status="auto_approved")
    elif status == "withdrawn":  # as an undo of earlier versions left it
        transaction.exec_driver_sql(f"UPDATE {kind}_proposals SET status = 'withdrawn', review_action = 'undo'")  # noqa: S608
    elif status == "approved":
        review.approve(transaction, key, ME)
    elif status == "rejected":
        review.reject(transaction, key, ME)
    elif status == "merged":
        review.merge(transaction, key, 1, ME)


@pytest.fixture(scope="module")
def with_targets(server: EmbeddedServer) -> Iterator[Database]:
    """One database for all transitions; each takes its changes back."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        connection.execute(TARGETS)
    yield database
    drop(server, database)


@pytest.mark.parametrize(("kind", "status", "place", "outcome"), EVERY)
def test_every_action_in_every_status_is_allowed_the_same_again_or_refused(
    with_targets: Database, kind: str, status: str, place: int, outcome: Outcome
) -> None:
    found = Extraction(topics=(topic("new"),)) if kind == "topic" else Extraction(atoms=(atom("new", "target"),))
    with with_targets.begin() as transaction:
        (key,) = propose_in(transaction, found).values()
        bring_to(transaction, key, kind, status)
        rows = psycopg_of(transaction)
        before, entries = everything(rows), len(audit(rows))
        (was,) = table(rows, f"SELECT status FROM {kind}_proposals")[0]  # noqa: S608
        action, *given = ACTIONS[place](key)
        if outcome == "refused":
            with pytest.raises(ConflictError, match=r"cannot be (approved|rejected|merged)"):
                action(transaction, *given, ME)
            assert everything(rows) == before
        elif outcome == "same":
            decision = action(transaction, *given, ME)
            assert (decision.status, decision.changed) == (was, False)
            assert everything(rows) == before
        else:
            decision = action(transaction, *given, ME)
            assert (decision.status, decision.changed) == (outcome, True)
            assert table(rows, f"SELECT status FROM {kind}_proposals") == [(outcome,)]  # noqa: S608
            assert [row[3:5] for row in audit(rows)[entries:]] == [(was, outcome)]
            assert [tables[:2] for tables in everything(rows)[:2]] == [tables[:2] for tables in before[:2]]
        assert broken_rules(rows) == []
        transaction.rollback()


def test_a_rejection_writes_nothing_but_the_proposal(peopled: Database, rows: Connection) -> None:
    proposed = propose(peopled)
    decide(peopled, review.reject, proposed["backups"])
    decide(peopled, review.reject, proposed["restore"])
    assert table(rows, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atoms)") == [(0, 0)]
    assert table(rows, "SELECT status, review_action, reviewed_by_user_id, review_notes FROM topic_proposals") == [
        ("rejected", "reject", 1, "looks right")
    ]
    assert [row[1:] for row in audit(rows)] == [
        ("reject proposal", f"topic proposal {proposed['backups']}", "pending", "rejected", "looks right"),
        ("reject proposal", f"atom proposal {proposed['restore']}", "pending", "rejected", "looks right"),
    ]


@pytest.mark.parametrize("topic_first", [True, False])
def test_a_merged_topic_passes_its_relations_to_the_target_in_any_order(
    peopled: Database, rows: Connection, topic_first: bool
) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)
    steps = [
        lambda: decide(peopled, review.merge, proposed["backups"], 1),
        lambda: approve(peopled, proposed["restore"], proposed["rehearse"]),
    ]
    for step in steps if topic_first else reversed(steps):
        step()
    assert relations(rows) == {
        "topic_atoms": [
            ("target", "rehearse", "Extracted with confidence 0.60"),
            ("target", "restore", "Extracted with confidence 0.60"),
        ],
        "atom_links": [("restore", "rehearse", "supports")],
        "messages": [(1, "target"), (2, "target")],
    }
    assert table(rows, "SELECT name, description, migrated_from_proposal_id FROM topics ORDER BY id") == [
        ("target", "as it is", None),
        ("another", "", None),
    ]
    assert broken_rules(rows) == []


def test_a_merged_atom_passes_its_links_to_the_target(peopled: Database, rows: Connection) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)
    decide(peopled, review.merge, proposed["rehearse"], 1)
    approve(peopled, proposed["backups"], proposed["restore"])
    assert filed(rows) == [("backups", "restore"), ("backups", "target")]
    assert relations(rows)["atom_links"] == [("restore", "target", "supports")]
    assert table(rows, "SELECT content, migrated_from_proposal_id FROM atoms WHERE id = 1") == [("as it is", None)]


def test_two_linked_atoms_merged_into_one_do_not_link_it_to_itself(peopled: Database, rows: Connection) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)
    decide(peopled, review.merge, proposed["restore"], 1)
    decide(peopled, review.merge, proposed["rehearse"], 1)
    assert table(rows, "SELECT count(*) FROM atom_links") == [(0,)]


def test_a_merge_into_what_the_proposal_was_flagged_with_keeps_the_score(peopled: Database, rows: Connection) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)
    flag = "UPDATE topic_proposals SET similar_topic_id = 1, similarity_score = 0.8, similarity_type = 'spelling'"
    query = "SELECT status, similar_topic_id, similarity_score, similarity_type FROM topic_proposals"
    rows.execute(flag)
    decide(peopled, review.merge, proposed["backups"], 1)
    assert table(rows, query) == [("merged", 1, 0.8, "spelling")]
    decide(peopled, undo.undo, proposed["backups"])
    assert table(rows, query) == [("pending", 1, 0.8, "spelling")]
    decide(peopled, review.merge, proposed["backups"], 2)
    assert table(rows, query) == [("merged", 2, None, None)]
    decide(peopled, undo.undo, proposed["backups"])
    assert table(rows, query) == [("pending", None, None, None)]


def test_nothing_is_merged_into_what_is_not_there(peopled: Database, rows: Connection) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)
    before = everything(rows)
    for name, kind in (("backups", "topic"), ("restore", "atom")):
        with pytest.raises(UnknownError, match=f"no {kind} 77"):
            decide(peopled, review.merge, proposed[name], 77)
    assert everything(rows) == before


def test_a_target_that_is_deleted_at_that_moment_is_told(peopled: Database, rows: Connection) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)

    def attempt() -> Decision | str:
        try:
            return decide(peopled, review.merge, proposed["backups"], 1)
        except UnknownError as error:
            return str(error)

    (said,) = held_up(peopled, rows, "DELETE FROM topics WHERE id = 1", attempt)
    assert said == "There is no topic 1 to merge the proposal into."
    assert table(rows, "SELECT status FROM topic_proposals") == [("pending",)]


def test_a_target_that_a_user_deletes_later_leaves_the_merge_on_record(peopled: Database, rows: Connection) -> None:
    rows.execute(TARGETS)
    proposed = propose(peopled)
    decide(peopled, review.merge, proposed["restore"], 1)
    rows.execute("DELETE FROM atoms WHERE id = 1")
    assert table(rows, "SELECT status, similar_atom_id FROM atom_proposals WHERE title = 'restore'") == [
        ("merged", None)
    ]
    assert decide(peopled, undo.undo, proposed["restore"]).status == "pending"
    assert approve(peopled, proposed["restore"]) == [3]
