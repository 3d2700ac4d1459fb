"""Approval without a reviewer: at extraction and as a job; never of what is similar to something of another name."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.decisions import FUNCTIONS
from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals import auto_approval, review, undo
from knowledge_migration.knowledge.proposals.similarity import flag_runs
from knowledge_migration.knowledge.writing.proposing import write_proposals
from knowledge_migration.knowledge.writing.runs import open_run
from knowledge_migration_tests.knowledge.conftest import ServiceMaker, atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import (
    ORIGIN,
    approve,
    at_once,
    audit,
    broken_rules,
    decide,
    filed,
    held_up,
    propose,
    table,
    wait_for,
)

ON = Flags(enabled=True, cutover_percentage=100)
OFF = ON.model_copy(update={"auto_approve_high_confidence": False})

KNOWN = """
INSERT INTO topics (name, description) VALUES ('release notes', ''), ('backups', 'older');
INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'the disks are replaced every year', '', false);
"""
MIXED = Extraction(
    topics=(topic("sure", 0.95), topic("unsure", 0.9499), topic("release note", 0.99), topic("backups", 1.0)),
    atoms=(
        atom("restore", "sure", 0.96),
        atom("maybe", "sure", 0.5),
        atom("the disks are replaced every years", "backups", 0.99),
    ),
)
APPROVED_OF_MIXED = ["backups", "restore", "sure"]
STATES = """
SELECT name AS label, status, review_action, similarity_type, similar_topic_id, reviewed_at IS NOT NULL FROM topic_proposals
UNION ALL SELECT title, status, review_action, similarity_type, similar_atom_id, reviewed_at IS NOT NULL FROM atom_proposals
ORDER BY 1
"""
EXPECTED = [
    ("backups", "auto_approved", "auto_approve", "exact", 2, True),
    ("maybe", "pending", None, None, None, False),
    ("release note", "pending", None, "spelling", 1, False),
    ("restore", "auto_approved", "auto_approve", None, None, True),
    ("sure", "auto_approved", "auto_approve", None, None, True),
    ("the disks are replaced every years", "pending", None, "spelling", 1, False),
    ("unsure", "pending", None, None, None, False),
]


def extract(make_service: ServiceMaker, found: Extraction, flags: Flags) -> Any:
    async def inside() -> Any:
        service = make_service(found, initial_flags=flags)
        async with service.running():
            return await service.extract((1, 2, 3), 1)

    return asyncio.run(inside())


def job(database: Database, flags: Flags = ON, limit: int = 100) -> int:
    with database.begin() as transaction:
        found = auto_approval.eligible(transaction, flags, limit)
    with database.engine() as engine:
        return auto_approval.approve_all_eligible(engine, flags, found)


def status_of(rows: Connection, name: str) -> str:
    return str(table(rows, "SELECT status FROM topic_proposals WHERE name = %s", name)[0][0])


def test_an_extraction_approves_what_it_is_sure_of_and_nothing_else(
    make_service: ServiceMaker, rows: Connection
) -> None:
    rows.execute(KNOWN)
    written = extract(make_service, MIXED, ON)
    assert len(written.approved) == 3
    assert [state[:2] for state in table(rows, STATES)] == [state[:2] for state in EXPECTED]
    assert filed(rows) == [("sure", "restore")]
    assert table(rows, "SELECT name, description FROM topics ORDER BY id") == [
        ("release notes", ""),
        ("backups", "older"),
        ("sure", "about sure"),
    ]
    assert table(rows, "SELECT title, user_approved FROM atoms WHERE id > 1") == [("restore", False)]
    assert table(rows, "SELECT DISTINCT actor, action, after ->> 'status' FROM migration.audit_log") == [
        ("auto-approval", "auto_approve proposal", "auto_approved")
    ]
    assert broken_rules(rows) == []


def test_the_job_approves_the_same_as_an_extraction_would(peopled: Database, rows: Connection) -> None:
    rows.execute(KNOWN)
    propose(peopled, MIXED)
    assert job(peopled) == 3
    assert table(rows, STATES) == EXPECTED
    assert filed(rows) == [("sure", "restore")]
    assert table(rows, "SELECT DISTINCT reviewed_by_user_id, review_notes FROM topic_proposals") == [(None, None)]
    assert job(peopled) == 0
    assert broken_rules(rows) == []


def test_nothing_is_approved_while_it_is_switched_off(
    peopled: Database, rows: Connection, make_service: ServiceMaker
) -> None:
    assert extract(make_service, MIXED, OFF).approved == ()
    with peopled.begin() as transaction:
        assert auto_approval.eligible(transaction, OFF, 100) == []
        finder, (key,) = DuplicateFinder(), table(rows, "SELECT id FROM topic_proposals WHERE name = 'sure'")[0]
        decision = auto_approval.approve_if_eligible(transaction, key, OFF, finder)
    assert (decision.status, decision.entity_id, decision.changed) == ("pending", None, False)
    assert table(rows, "SELECT count(*) FROM topics") == [(0,)]
    assert audit(rows) == []


@pytest.mark.parametrize(
    ("threshold", "names"),
    [
        (0.0, ["a", "b", "c", "x", "y"]),
        (0.5, ["b", "c", "x", "y"]),
        (0.95, ["c", "y"]),
        (1.0, ["c"]),
    ],
)
def test_the_threshold_counts_from_its_very_value(
    sql: sa.Connection, peopled: Database, rows: Connection, threshold: float, names: list[str]
) -> None:
    found = Extraction(
        topics=(topic("a", 0.0), topic("b", 0.5), topic("c", 1.0)), atoms=(atom("x", "b", 0.5), atom("y", "b", 0.95))
    )
    proposed = propose(peopled, found)
    flags = ON.model_copy(update={"auto_approve_threshold": threshold})
    by_id = {key: name for name, key in proposed.items()}
    assert sorted(by_id[key] for key in auto_approval.eligible(sql, flags, 100)) == names
    assert job(peopled, flags) == len(names)


def test_topics_come_before_atoms_and_the_most_confident_first_up_to_the_limit(
    sql: sa.Connection, peopled: Database
) -> None:
    found = Extraction(
        topics=(topic("a", 0.96), topic("b", 0.99), topic("c", 0.97)), atoms=(atom("x", "a", 1.0), atom("y", "a", 0.98))
    )
    by_id = {key: name for name, key in propose(peopled, found).items()}
    order = [by_id[key] for key in auto_approval.eligible(sql, ON, 100)]
    assert order == ["b", "c", "a", "x", "y"]
    for limit in range(6):
        assert [by_id[key] for key in auto_approval.eligible(sql, ON, limit)] == order[:limit]


@pytest.mark.parametrize("flag", ["spelling", "meaning"])
def test_what_is_flagged_with_another_name_is_never_eligible(
    sql: sa.Connection, peopled: Database, rows: Connection, flag: str
) -> None:
    rows.execute(KNOWN)
    key = propose(peopled, Extraction(topics=(topic("sure", 1.0),)))["sure"]
    rows.execute(
        "UPDATE topic_proposals SET similar_topic_id = 1, similarity_score = 0.99, similarity_type = %s", (flag,)
    )
    assert auto_approval.eligible(sql, ON, 100) == []
    assert auto_approval.approve_if_eligible(sql, key, ON, DuplicateFinder()).changed is False
    sql.commit()
    rows.execute("DELETE FROM topics WHERE id = 1")
    assert auto_approval.eligible(sql, ON, 100) == []


def test_what_became_similar_since_it_was_proposed_is_found_before_it_is_approved(
    peopled: Database, rows: Connection
) -> None:
    propose(peopled, Extraction(topics=(topic("release note", 0.99), topic("release notes", 0.99))))
    assert job(peopled) == 1
    assert table(rows, "SELECT name, status FROM topic_proposals ORDER BY name") in (
        [("release note", "auto_approved"), ("release notes", "pending")],
        [("release note", "pending"), ("release notes", "auto_approved")],
    )
    assert table(rows, "SELECT similarity_type FROM topic_proposals WHERE status = 'pending'") == [("spelling",)]


def test_what_a_person_has_taken_back_is_not_approved_again_by_the_job(peopled: Database, rows: Connection) -> None:
    rows.execute(KNOWN)
    proposed = propose(peopled, Extraction(topics=(topic("backups", 1.0), topic("sure", 1.0), topic("no", 1.0))))
    decide(peopled, review.reject, proposed["no"])
    assert job(peopled) == 2
    for name in ("backups", "sure", "no"):
        decide(peopled, undo.undo, proposed[name])
    assert job(peopled) == 0
    assert table(rows, "SELECT name, status FROM topic_proposals ORDER BY name") == [
        ("backups", "pending"),
        ("no", "pending"),
        ("sure", "pending"),
    ]
    assert approve(peopled, proposed["backups"]) == [2]


@pytest.mark.parametrize(
    ("action", "status"), [("approve", "approved"), ("reject", "rejected"), ("merge", "merged"), ("flag", "pending")]
)
def test_what_a_person_decides_meanwhile_is_passed_over_and_the_job_goes_on(
    peopled: Database, rows: Connection, action: str, status: str
) -> None:
    rows.execute(KNOWN)
    proposed = propose(peopled, Extraction(topics=(topic("first", 1.0), topic("second", 0.99))))
    with peopled.begin() as transaction:
        found = auto_approval.eligible(transaction, ON, 100)
    assert found == [proposed["first"], proposed["second"]]
    if action == "merge":
        decide(peopled, review.merge, proposed["first"], 1)
    elif action == "flag":
        rows.execute(
            "UPDATE topic_proposals SET similar_topic_id = 1, similarity_type = 'meaning' WHERE name = 'first'"
        )
    else:
        decide(peopled, FUNCTIONS[action], proposed["first"])
    with peopled.engine() as engine:
        assert auto_approval.approve_all_eligible(engine, ON, found) == 1
    assert (status_of(rows, "first"), status_of(rows, "second")) == (status, "auto_approved")


def test_a_proposal_that_is_gone_meanwhile_is_passed_over(peopled: Database, rows: Connection) -> None:
    proposed = propose(peopled, Extraction(topics=(topic("first", 1.0), topic("second", 0.99))))
    rows.execute("DELETE FROM topic_proposals WHERE name = 'first'")
    with peopled.engine() as engine:
        assert auto_approval.approve_all_eligible(engine, ON, list(proposed.values())) == 1


def test_the_job_waits_for_a_person_who_is_deciding_and_obeys(peopled: Database, rows: Connection) -> None:
    key = propose(peopled, Extraction(topics=(topic("sure", 1.0),)))["sure"]
    with peopled.begin() as person:
        review.reject(person, key, review.Reviewer("a person", 1))
        with at_once(lambda: job(peopled)) as (approving,):
            wait_for(rows, 1)
            person.commit()
            assert approving.result(30) == 0
    assert table(rows, "SELECT status, reviewed_by_user_id FROM topic_proposals") == [("rejected", 1)]
    assert table(rows, "SELECT count(*) FROM topics") == [(0,)]


def flag_run(database: Database, proposal_id: UUID) -> int:
    with database.begin() as transaction:
        run_ids = transaction.exec_driver_sql("SELECT id FROM knowledge_extraction_runs").scalars().all()
        return flag_runs(transaction, DuplicateFinder(), run_ids)


def approve_by_job(database: Database, proposal_id: UUID) -> int:
    with database.engine() as engine:
        return auto_approval.approve_all_eligible(engine, ON, [proposal_id])


@pytest.mark.parametrize(("work", "done"), [(flag_run, 1), (approve_by_job, 0)])
def test_a_person_who_decides_while_names_are_compared_never_deadlocks(
    peopled: Database, rows: Connection, work: Callable[[Database, UUID], int], done: int
) -> None:
    rows.execute(KNOWN)
    key = propose(peopled, Extraction(topics=(topic("release note", 1.0),)))["release note"]
    with peopled.connect("holder") as holder, ExitStack() as opened:
        with holder.transaction():
            holder.execute("SELECT FROM topic_proposals FOR UPDATE")
            (comparing,) = opened.enter_context(at_once(lambda: work(peopled, key)))
            wait_for(rows, 1)
            (person,) = opened.enter_context(at_once(lambda: decide(peopled, review.approve, key)))
            wait_for(rows, 2)
        assert (comparing.result(30), person.result(30).status) == (done, "approved")
    assert table(rows, "SELECT name FROM topics ORDER BY id") == [("release notes",), ("backups",), ("release note",)]


def test_two_extractions_of_the_same_names_in_opposite_order_never_deadlock(
    peopled: Database, rows: Connection
) -> None:
    def extraction(*names: str) -> Extraction:
        confidences = (1.0, 0.99, 0.98)
        return Extraction(
            topics=tuple(topic(name, value) for name, value in zip(names, confidences, strict=True)),
            atoms=tuple(atom(name, name, value) for name, value in zip(names, confidences, strict=True)),
        )

    def write(found: Extraction) -> list[int | None]:
        with peopled.begin() as transaction:
            run_id = open_run(transaction, ORIGIN)
            write_proposals(transaction, run_id, ORIGIN, found)
            decisions = auto_approval.approve_eligible_of_run(transaction, run_id, ON, DuplicateFinder())
            return sorted(one.entity_id or 0 for one in decisions if one.kind.name == "topic")

    there, back = extraction("a", "b", "c"), extraction("c", "b", "a")
    # Both are stopped at their second name; had each made its first, neither could go on.
    first, second = held_up(
        peopled,
        rows,
        "INSERT INTO topics (name, description) VALUES ('b', '')",
        lambda: write(there),
        lambda: write(back),
    )
    assert first == second
    assert table(rows, "SELECT name FROM topics ORDER BY name") == [("a",), ("b",), ("c",)]
    assert filed(rows) == [("a", "a"), ("b", "b"), ("c", "c")]


def test_two_jobs_at_once_approve_each_proposal_once(peopled: Database, rows: Connection) -> None:
    found = Extraction(
        topics=tuple(topic(name, 1.0) for name in ("apples", "bridges", "clouds")), atoms=(atom("x", "apples", 1.0),)
    )
    keys: list[UUID] = list(propose(peopled, found).values())

    def approving() -> int:
        with peopled.engine() as engine:
            return auto_approval.approve_all_eligible(engine, ON, keys)

    said = held_up(peopled, rows, "SELECT FROM knowledge_extraction_runs FOR UPDATE", approving, approving, approving)
    assert sum(said) == 4
    assert table(rows, "SELECT count(*) FROM topics") == [(3,)]
    assert filed(rows) == [("apples", "x")]
    assert len(audit(rows)) == 4
