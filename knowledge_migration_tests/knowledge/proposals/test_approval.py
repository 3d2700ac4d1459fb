"""An approval makes exactly one row or stands for the existing one, with its relations, in any order and by anybody at once."""

import asyncio
import itertools
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.decisions import FUNCTIONS
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.review import Reviewer
from knowledge_migration_tests.knowledge.conftest import ServiceMaker, atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ME,
    PAIR,
    SYSTEM,
    approve,
    audit,
    broken_rules,
    decide,
    filed,
    held_up,
    named,
    propose,
    propose_in,
    psycopg_of,
    relations,
    table,
)

WEB = Extraction(
    topics=(topic("backups", 0.6, (1, 2)), topic("disks", 0.6, (2, 3))),
    atoms=(
        atom(
            "restore",
            "backups",
            0.6,
            links_to_atom_titles=("rehearse", "measure"),
            link_types=("supports", "depends_on"),
        ),
        atom("rehearse", "backups", 0.7, links_to_atom_titles=("restore",), link_types=("refines",)),
        atom("measure", "disks", 0.8, links_to_atom_titles=("measure",), link_types=("supports",)),
    ),
)
WEB_RELATIONS = {
    "topic_atoms": [
        ("backups", "rehearse", "Extracted with confidence 0.70"),
        ("backups", "restore", "Extracted with confidence 0.60"),
        ("disks", "measure", "Extracted with confidence 0.80"),
    ],
    "atom_links": [
        ("rehearse", "restore", "refines"),
        ("restore", "measure", "depends_on"),
        ("restore", "rehearse", "supports"),
    ],
}


@pytest.fixture
def proposed(peopled: Database) -> dict[str, UUID]:
    """One topic and two linked atoms that wait."""
    return propose(peopled)


def test_approving_makes_the_row_with_exactly_the_proposals_values(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    decisions = [decide(peopled, review.approve, proposed[name]) for name in ("backups", "restore")]
    assert [(one.status, one.entity_id, one.changed) for one in decisions] == [("approved", 1, True)] * 2
    assert table(
        rows,
        "SELECT t.name, t.description, t.icon = p.icon, t.color = p.color, t.migrated_from_proposal_id, p.entity_id, "
        "t.migration_timestamp IS NOT NULL FROM topics t JOIN topic_proposals p ON p.id = t.migrated_from_proposal_id",
    ) == [("backups", "about backups", True, True, proposed["backups"], 1, True)]
    assert table(
        rows,
        "SELECT a.type, a.title, a.content, a.confidence, a.user_approved, a.meta::jsonb = p.meta, p.id, p.entity_id "
        "FROM atoms a JOIN atom_proposals p ON p.id = a.migrated_from_proposal_id",
    ) == [("insight", "restore", "what restore says", 0.6, True, True, proposed["restore"], 1)]
    assert table(rows, "SELECT title, status, reviewed_at FROM atom_proposals WHERE title = 'rehearse'") == [
        ("rehearse", "pending", None)
    ]
    assert broken_rules(rows) == []


def test_proposals_of_the_service_are_approved_as_those_written_by_hand(
    peopled: Database, rows: Connection, make_service: ServiceMaker
) -> None:
    async def inside() -> Any:
        service = make_service(WEB, initial_flags=Flags(enabled=True, cutover_percentage=100))
        async with service.running():
            written = await service.extract((1, 2, 3), 1)
            keys = named(WEB, written.proposed.topic_proposal_ids, written.proposed.atom_proposal_ids)
            for key in reversed(keys.values()):
                await service.in_transaction(review.approve, key, ME)

    asyncio.run(inside())
    assert relations(rows) == {**WEB_RELATIONS, "messages": [(1, "backups"), (2, "disks"), (3, "disks")]}


def test_every_order_of_approving_ends_in_the_same_relations(sql: sa.Connection) -> None:
    orders = list(itertools.permutations(["backups", "disks", "restore", "rehearse", "measure"]))
    for order in (*orders[::7], orders[-1]):
        proposed = propose_in(sql, WEB)
        for name in order:
            assert review.approve(sql, proposed[name], ME).changed
        found = relations(psycopg_of(sql))
        first = "backups" if order.index("backups") < order.index("disks") else "disks"
        assert found.pop("messages") == [(1, "backups"), (2, first), (3, "disks")], order
        assert found == WEB_RELATIONS, order
        sql.rollback()


def test_a_message_keeps_the_topic_it_has(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    rows.execute(
        "INSERT INTO topics (name, description) VALUES ('first', ''); UPDATE messages SET topic_id = 1 WHERE id = 2"
    )
    approve(peopled, proposed["backups"])
    assert relations(rows)["messages"] == [(1, "backups"), (2, "first")]


def test_a_topic_of_exactly_that_name_is_linked_and_stays_as_it_is(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description, icon) VALUES ('Backups', '', 'A'), ('backups', 'older', NULL)")
    before = table(rows, "SELECT * FROM topics ORDER BY id")
    approve(peopled, proposed["rehearse"])
    assert approve(peopled, proposed["backups"]) == [2]
    assert table(rows, "SELECT * FROM topics ORDER BY id") == before
    assert table(
        rows, "SELECT status, similar_topic_id, similarity_score, similarity_type, entity_id FROM topic_proposals"
    ) == [("approved", 2, 1.0, "exact", None)]
    assert filed(rows) == [("backups", "rehearse")]
    approve(peopled, proposed["restore"])
    assert filed(rows) == [("backups", "rehearse"), ("backups", "restore")]
    assert broken_rules(rows) == []


@pytest.mark.parametrize(
    ("values", "linked"),
    [
        ("'insight', 'restore', 'what restore says'", True),
        ("'decision', 'restore', 'what restore says'", False),
        ("'insight', 'Restore', 'what restore says'", False),
        ("'insight', 'restore', 'what restore says '", False),
    ],
)
def test_only_an_atom_of_equal_type_title_and_content_is_linked(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], values: str, linked: bool
) -> None:
    rows.execute(f"INSERT INTO atoms (type, title, content, user_approved) VALUES ({values}, false)")  # noqa: S608
    assert approve(peopled, proposed["restore"]) == [1 if linked else 2]
    assert table(rows, "SELECT count(*), max(migrated_from_proposal_id::text) FROM atoms") == [
        (1, None) if linked else (2, str(proposed["restore"]))
    ]
    assert table(rows, "SELECT id, user_approved FROM atoms WHERE id = 1") == [(1, False)]
    assert broken_rules(rows) == []


def test_an_atom_that_only_shares_a_title_with_another_never_stands_for_that_one(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'restore', 'other', false)"
    )
    rows.execute(
        "UPDATE atom_proposals SET similar_atom_id = 1, similarity_type = 'exact', similarity_score = 1 "
        "WHERE title = 'restore'"
    )
    assert approve(peopled, proposed["restore"]) == [2]
    rows.execute("DELETE FROM atoms WHERE id = 2")
    approve(peopled, proposed["backups"])
    assert filed(rows) == []
    assert decide(peopled, review.approve, proposed["restore"]).entity_id is None


def test_an_atom_under_an_existing_topic_is_filed_there(peopled: Database, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('known', '')")
    proposed = propose(peopled, Extraction(atoms=(atom("restore", "known"), atom("rehearse", "gone"))))
    assert table(rows, "SELECT title, proposed_topic_ids FROM atom_proposals ORDER BY title") == [
        ("rehearse", []),
        ("restore", [1]),
    ]
    approve(peopled, *proposed.values())
    assert filed(rows) == [("known", "restore")]


def test_a_topic_that_was_deleted_before_its_atom_is_approved_is_no_obstacle(
    peopled: Database, rows: Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('known', '')")
    proposed = propose(peopled, Extraction(atoms=(atom("restore", "known"),)))
    rows.execute("DELETE FROM topics")
    approve(peopled, *proposed.values())
    assert filed(rows) == []


def test_a_rejected_topic_leaves_its_atoms_without_one(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["backups"])
    approve(peopled, proposed["restore"], proposed["rehearse"])
    assert filed(rows) == []
    assert relations(rows)["atom_links"] == [("restore", "rehearse", "supports")]


def test_approving_again_changes_nothing(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    approve(peopled, *proposed.values())
    tables = (
        "topics",
        "atoms",
        "topic_proposals",
        "atom_proposals",
        "topic_atoms",
        "atom_links",
        "migration.audit_log",
    )
    before = [table(rows, f"SELECT * FROM {one} ORDER BY 1, 2") for one in tables]  # noqa: S608
    for name, key in proposed.items():
        again = decide(peopled, review.approve, key, reviewer=Reviewer("another", 2))
        assert (again.status, again.changed, again.entity_id is not None) == ("approved", False, True), name
    assert [table(rows, f"SELECT * FROM {one} ORDER BY 1, 2") for one in tables] == before  # noqa: S608


def test_each_decision_is_in_the_audit_log_with_its_reviewer(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    decide(peopled, review.approve, proposed["restore"], reviewer=SYSTEM)
    assert audit(rows) == [
        (
            "a test, user 1",
            "approve proposal",
            f"topic proposal {proposed['backups']}",
            "pending",
            "approved",
            "looks right",
        ),
        ("a test", "approve proposal", f"atom proposal {proposed['restore']}", "pending", "approved", None),
    ]
    assert table(
        rows, "SELECT after -> 'topic_atoms', after -> 'entity_id' FROM migration.audit_log ORDER BY id DESC LIMIT 1"
    ) == [([[1, 1]], 1)]
    assert table(
        rows, "SELECT reviewed_by_user_id, review_notes, review_action, reviewed_at IS NOT NULL FROM topic_proposals"
    ) == [(1, "looks right", "approve", True)]


@pytest.mark.parametrize("action", ["approve", "reject", "merge", "undo"])
@pytest.mark.parametrize("status", ["pending", "approved"])
def test_an_unknown_reviewer_is_refused_whatever_the_state(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], action: str, status: str
) -> None:
    if status == "approved":
        approve(peopled, proposed["backups"], proposed["restore"])
    before = table(rows, "SELECT * FROM topic_proposals"), audit(rows)
    given = (proposed["backups"], 1) if action == "merge" else (proposed["backups"],)
    with pytest.raises(UnknownError, match="no user 999"):
        decide(peopled, FUNCTIONS[action], *given, reviewer=Reviewer("a test", 999))
    assert (table(rows, "SELECT * FROM topic_proposals"), audit(rows)) == before


def test_a_proposal_that_is_not_there_is_told(peopled: Database) -> None:
    for action in (review.approve, review.reject, undo.undo):
        with pytest.raises(UnknownError, match="no proposal"):
            decide(peopled, action, uuid4())


def test_without_meta_an_atom_has_none_and_not_a_json_null(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("UPDATE atom_proposals SET meta = NULL")
    approve(peopled, proposed["restore"])
    assert table(rows, "SELECT meta IS NULL FROM atoms") == [(True,)]
    assert broken_rules(rows) == []


# At once. A session holds a lock until everybody waits; then all go on together.


def test_reviewers_of_one_proposal_at_once_make_one_row(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    works = [lambda: decide(peopled, review.approve, proposed["backups"])] * 5
    decisions = held_up(peopled, rows, "SELECT FROM topic_proposals FOR UPDATE", *works)
    assert sorted(one.changed for one in decisions) == [False] * 4 + [True]
    assert {one.entity_id for one in decisions} == {1}
    assert table(rows, "SELECT count(*) FROM topics") == [(1,)]
    assert len(audit(rows)) == 1


def test_topic_and_atoms_of_one_run_approved_at_once_miss_no_relation(peopled: Database, rows: Connection) -> None:
    proposed = propose(peopled, WEB)
    works = [lambda key=key: decide(peopled, review.approve, key) for key in proposed.values()]
    decisions = held_up(peopled, rows, "SELECT FROM knowledge_extraction_runs FOR UPDATE", *works)
    assert [one.changed for one in decisions] == [True] * 5
    found = relations(rows)
    found.pop("messages")
    assert found == WEB_RELATIONS
    assert broken_rules(rows) == []


def test_a_topic_waits_until_the_atom_of_its_run_is_decided(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    with peopled.begin() as undecided, peopled.begin() as other:
        review.approve(undecided, proposed["restore"], ME)
        other.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            review.approve(other, proposed["backups"], ME)
        other.rollback()
    approve(peopled, proposed["backups"])
    assert filed(rows) == [("backups", "restore")]


@pytest.mark.parametrize(
    ("name", "entities", "lock"),
    [
        ("backups", "topics", "LOCK TABLE topics IN SHARE MODE"),
        ("restore", "atoms", "LOCK TABLE atoms IN SHARE MODE"),
    ],
)
def test_proposals_of_one_name_in_different_runs_approved_at_once_make_one_row(
    peopled: Database, rows: Connection, name: str, entities: str, lock: str
) -> None:
    runs = [propose(peopled) for _ in range(4)]
    works = [lambda key=run[name]: decide(peopled, review.approve, key) for run in runs]
    decisions = held_up(peopled, rows, lock, *works)
    assert [(one.changed, one.entity_id) for one in decisions] == [(True, decisions[0].entity_id)] * 4
    assert table(rows, f"SELECT count(*) FROM {entities}") == [(1,)]  # noqa: S608
    assert table(rows, f"SELECT count(*) FROM {entities[:-1]}_proposals WHERE similarity_type = 'exact'") == [(3,)]  # noqa: S608
    for run in runs:
        approve(peopled, *run.values())
    assert filed(rows) == [("backups", "rehearse"), ("backups", "restore")]
    assert broken_rules(rows) == []


def test_approving_and_rejecting_at_once_one_wins_and_the_other_is_refused(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    def attempt(action: Any) -> str:
        try:
            return decide(peopled, action, proposed["backups"]).status
        except ConflictError:
            return "refused"

    works = [lambda: attempt(review.approve), lambda: attempt(review.reject)]
    said = sorted(held_up(peopled, rows, "SELECT FROM knowledge_extraction_runs FOR UPDATE", *works))
    assert said in (["approved", "refused"], ["refused", "rejected"])
    assert table(rows, "SELECT count(*) FROM topics") == [(1 if "approved" in said else 0,)]


def test_an_existing_topic_that_is_deleted_while_it_is_matched_is_made_again(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('backups', 'older')")
    (decision,) = held_up(
        peopled, rows, "DELETE FROM topics", lambda: decide(peopled, review.approve, proposed["backups"])
    )
    assert table(rows, "SELECT id, description, migrated_from_proposal_id FROM topics") == [
        (decision.entity_id, "about backups", proposed["backups"])
    ]


def test_the_same_extraction_twice_ends_in_one_set_of_rows(peopled: Database, rows: Connection) -> None:
    first, second = propose(peopled, PAIR), propose(peopled, PAIR)
    approve(peopled, *first.values())
    once = relations(rows)
    approve(peopled, *reversed(second.values()))
    assert relations(rows) == once
    assert table(rows, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atoms)") == [(1, 2)]
