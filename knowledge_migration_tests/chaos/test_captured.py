"""Rounds with the capture, and their judge: it complains about each kind of damage, and only then."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.chaos import captured_judge, records
from knowledge_migration_tests.chaos.captured import AFTER, FAULTS, run_captured_round, steps_of
from knowledge_migration_tests.chaos.sessions import Session
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, cloned
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.dual_write.capturing import install

Case = tuple[records.Connection, records.Snapshot, Session]

CAPTURED = (
    "(SELECT id FROM atom_proposals WHERE proposed_topic_ids <> '[]' AND review_action = 'auto_approve_migration' "
    "AND extraction_run_id <> migration.origin_proposal_id('knowledge_extraction_runs', 0) AND entity_id IS NULL LIMIT 1)"
)
"""A captured proposal with topics, whose row is there."""
EVERY_ROW, NO_WRITE = "every row has a proposal after phase 3", "no acknowledged write is lost"


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_a_round_with_the_capture_ends_without_a_complaint(seed: int, request: pytest.FixtureRequest) -> None:
    server: EmbeddedServer = request.getfixturevalue("server_16" if seed % 2 else "server")
    outcome = run_captured_round(server, seed, print)
    assert [str(one) for one in outcome.complaints] == []
    assert outcome.checked["statements"] > 20


def test_two_hundred_seeds_meet_every_action_and_every_fault() -> None:
    steps = [step for seed in range(200) for step in steps_of(seed)]
    assert {step.action for step in steps} == set(AFTER)
    assert {step.fault for step in steps} == set(FAULTS)
    assert {steps_of(seed)[-1].action for seed in range(200)} == {"phase 3", "rollback backfill"}


def write(connection: psycopg.Connection[Any], session: Session, transactions: int) -> None:
    """So many transactions of a session, one after another."""
    for _ in range(transactions):
        session.transact(connection)


@pytest.fixture(scope="module")
def written(server: EmbeddedServer) -> Iterator[tuple[Database, records.Snapshot, Session]]:
    """A backfilled database with the capture, in which a session has written in every way."""
    with cloned(server, EXPANDED_TEMPLATE) as database:
        fill(database)
        install(database)
        over, capturing = threading.Event(), threading.Event()
        over.set()  # no pause
        capturing.set()
        session = Session(database.conninfo, "case", capturing, over)
        with records.connect(database.conninfo) as connection, psycopg.connect(database.conninfo) as writer:
            before = records.snapshot(connection)
            write(writer, session, 100)
            for _ in range(20):
                session.insert_atom(writer, session.memory)
            writer.commit()
        backfill(database)
        yield database, before, session


@pytest.fixture
def case(written: tuple[Database, records.Snapshot, Session]) -> Iterator[Case]:
    """The same in a transaction that is rolled back."""
    database, before, session = written
    with records.connect(database.conninfo) as connection, connection.transaction(force_rollback=True):
        yield connection, before, session


def rules(case: Case, *, complete: bool = True) -> set[str]:
    connection, before, session = case
    verdict = captured_judge.judge(connection, before, [session.memory], complete=complete)
    return {complaint.rule for complaint in verdict.complaints}


def test_what_is_as_committed_is_no_complaint(case: Case) -> None:
    assert rules(case) == set()
    assert list(captured_judge.while_writing(case[0])) == []
    memory = case[2].memory
    assert all((memory.gone, memory.related, memory.parted, memory.held))
    assert rules(case, complete=False) == {"the rollbacks leave nothing"}


DAMAGE: dict[str, str] = {
    "SET session_replication_role = replica; DELETE FROM atom_proposals WHERE id = {one}": EVERY_ROW,
    "UPDATE atoms SET migrated_from_proposal_id = NULL WHERE id = 5": EVERY_ROW,
    "UPDATE topics SET migrated_from_proposal_id = NULL WHERE name = 'topic 9'": "no proposal is orphaned",
    "UPDATE atom_proposals SET content = 'wrong' WHERE id = {one}": "a proposal has the values of its row",
    "UPDATE atom_proposals SET confidence = 0.9 WHERE id = {one}": "a proposal has the values of its row",
    "UPDATE atom_proposals SET proposed_topic_ids = '[]' WHERE id = {one}": (
        "a captured proposal names the topics of its row"
    ),
    "UPDATE atom_proposals SET status = 'rejected' WHERE id = {one}": "a row has its own approved proposal",
    "UPDATE atom_proposals SET entity_id = NULL WHERE entity_id IS NOT NULL": "a deletion marks the proposal",
    "UPDATE atoms SET content = 'lost' WHERE migrated_from_proposal_id = {one}": NO_WRITE,
    "UPDATE atoms SET content = 'lost' WHERE id = 5": NO_WRITE,
    "DELETE FROM topic_atoms WHERE atom_id > 400": NO_WRITE,
    "INSERT INTO topics (name, description) VALUES ('nobody wrote it', '')": "what was rolled back is not written",
    "DELETE FROM migration.quarantine": "what cannot become a proposal is in quarantine",
    "INSERT INTO migration.capture_log (entity, operation, sqlstate) VALUES ('atom', 'INSERT', '40P01')": (
        "the capture does not fail"
    ),
    "INSERT INTO migration.capture_log (entity, operation, sqlstate) VALUES ('atom', 'INSERT', '55P03')": (
        "a sweep completes what was held up"
    ),
}
"""Damage, and the rule that it violates."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_it_finds(case: Case, damage: str) -> None:
    case[0].execute(damage.format(one=CAPTURED).encode())
    assert DAMAGE[damage] in rules(case)


def test_it_finds_rows_that_no_trigger_captured(case: Case) -> None:
    case[0].execute("ALTER TABLE topics DISABLE TRIGGER USER")
    case[0].execute("INSERT INTO topics (name, description) VALUES ('shared by all', '')")
    assert {one.rule for one in captured_judge.while_writing(case[0])} == {EVERY_ROW}
    assert rules(case) == {EVERY_ROW}


def test_it_finds_a_trigger_after_all_rollbacks(case: Case) -> None:
    case[0].execute(
        "UPDATE topics SET migrated_from_proposal_id = NULL; UPDATE atoms SET migrated_from_proposal_id = NULL; "
        "DELETE FROM topic_proposals; DELETE FROM atom_proposals"
    )
    verdict = captured_judge.judge(case[0], case[1], [case[2].memory], complete=False)
    assert len([one for one in verdict.complaints if one.what.startswith("trigger knowledge_migration_")]) == 6
    assert len(verdict.complaints) == 6


def test_a_statement_that_fails_is_reported(expanded: Database) -> None:
    with records.connect(expanded.conninfo) as connection:
        connection.execute("ALTER TABLE atoms ADD CHECK (false)")
    session = Session(expanded.conninfo, "failing", threading.Event(), threading.Event(), pause_seconds=0.0)
    session.start()
    session.join(60)
    assert session.failures[0].startswith("23514")


def test_the_judge_imports_nothing_of_the_migration() -> None:
    for name in ("captured_judge.py", "sessions.py"):
        text = (Path(captured_judge.__file__).parent / name).read_text(encoding="utf-8")
        assert "knowledge_migration." not in text
