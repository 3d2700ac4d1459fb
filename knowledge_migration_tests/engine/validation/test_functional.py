"""Functional validation (strategy §9.2) and load test (§9.3) on a real service: true verdicts, and not a row left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.foundation import evidence, fingerprint
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BusyError, MigrationError, PreconditionError
from knowledge_migration.engine.validation import functional, load
from knowledge_migration.engine.validation import synthetic_messages as synthetic
from knowledge_migration.engine.validation.functional import FunctionalValidation, require_allowed, validate
from knowledge_migration.engine.validation.load import run_load_test
from knowledge_migration.engine.validation.service import ServiceAddress, require_this_database
from knowledge_migration.engine.validation.synthetic_messages import marks, remove, synthetic_messages
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.thresholds import GATES
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, topic
from knowledge_migration_tests.serving import serving

OURS = ("knowledge_extraction_runs", "topic_proposals", "atom_proposals")
FULL = {"enabled": True, "cutover_percentage": 100, "dual_write": True}


def flag(database: Database, **changes: Any) -> None:
    """Sets flags as an operator does."""
    with database.begin() as transaction:
        set_flags(transaction, changes, initial=Flags(), actor="a test", reason="a test")


def tried(database: Database, extractor: Any = None, **options: Any) -> FunctionalValidation:
    """One validation of a service that runs meanwhile."""
    with serving(database, extractor, **options) as url:
        return validate(database, ServiceAddress(url))


def verdicts(done: FunctionalValidation) -> list[str]:
    """In the order of the scenarios."""
    return [one.verdict for one in done.scenarios]


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """Every legacy row is what it was before, and no run, proposal or mark is left."""
    with database.connect("test") as connection:
        before, counts = fingerprint.take(connection), ours(connection)
    yield
    with database.connect("test") as connection:
        after = fingerprint.take(connection, like=before)
        assert [str(one) for one in fingerprint.differences(before, after)] == []
        assert ours(connection) == counts
        assert marks(connection) == []


def ours(connection: Connection) -> list[int]:
    """Rows of the proposal tables."""
    return [connection.execute(f"SELECT count(*) AS n FROM {name}").fetchone()["n"] for name in OURS]  # type: ignore[index]  # noqa: S608


def test_every_scenario_passes_on_a_service_in_proposal_mode_and_nothing_is_left(peopled: Database) -> None:
    flag(peopled, **FULL)
    with unchanged(peopled):
        done = tried(peopled)
    assert [(one.verdict, one.message) for one in done.scenarios if one.verdict != "pass"] == []
    assert (done.passed, done.mode, done.kept) == (True, "proposal", ())
    assert done.removed[-1].rows > 8
    with peopled.connect("test") as connection:
        kept = evidence.latest(connection, functional.KIND)
    assert kept
    assert [one["name"] for one in kept.content["scenarios"]] == list(functional.SCENARIOS)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"enabled": False, "dual_write": True}, "The flags are at dual write"),
        ({"enabled": False}, "The flags are at off"),
    ],
)
def test_without_proposal_mode_every_scenario_is_inconclusive_and_nothing_is_written(
    peopled: Database, flags: dict[str, Any], words: str
) -> None:
    flag(peopled, **flags)
    with unchanged(peopled):
        done = tried(peopled)
    assert verdicts(done) == ["inconclusive"] * 4
    assert words in done.scenarios[0].message
    assert not done.passed


def test_a_listed_admin_is_found_in_the_internal_beta(peopled: Database) -> None:
    flag(peopled, enabled=True, dual_write=True, audience="admins", admin_user_ids=(7,))
    with unchanged(peopled):
        assert tried(peopled).scenarios[0].verdict == "pass"


def test_disabled_automatic_approval_is_inconclusive(peopled: Database) -> None:
    flag(peopled, **FULL, auto_approve_high_confidence=False)
    assert verdicts(tried(peopled)) == ["pass", "inconclusive", "pass", "pass"]


def test_a_full_queue_is_inconclusive(peopled: Database) -> None:
    flag(peopled, **FULL)
    fill_queue(peopled)
    with unchanged(peopled):
        done = tried(peopled, queue_limit=1)
    assert verdicts(done) == ["inconclusive"] * 4
    assert "queue is full" in done.scenarios[0].message


def fill_queue(database: Database) -> None:
    """One proposal that waits for review."""
    with database.connect("test") as connection:
        connection.execute(
            "WITH run AS (INSERT INTO knowledge_extraction_runs (status, message_ids, message_count) "
            "VALUES ('completed', '[]', 0) RETURNING id) "
            "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, status) "
            "SELECT run.id, 'waits', 'd', 0.5, 'pending' FROM run"
        )


def test_an_extractor_with_other_names_is_inconclusive(peopled: Database) -> None:
    flag(peopled, **FULL)
    with unchanged(peopled):
        done = tried(peopled, FakeExtractor(Extraction(topics=(topic("Quite another", 0.6, messages=()),))))
    assert verdicts(done) == ["pass", "pass", "pass", "inconclusive"]


def test_a_fault_of_the_service_fails_its_scenario(peopled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    flag(peopled, **FULL)
    monkeypatch.setattr("knowledge_migration.knowledge.background.flag_runs", lambda *parts: None)
    monkeypatch.setattr(functional, "SIMILARITY_SECONDS", 0.5)
    with unchanged(peopled):
        done = tried(peopled)
    assert verdicts(done) == ["pass", "pass", "pass", "fail"]
    assert "is flagged" in done.scenarios[3].message


def test_rows_of_users_with_the_same_names_are_not_touched(peopled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional.random, "choices", lambda letters, k: list("kwbqxdzjtmva"))
    flag(peopled, **FULL)
    with peopled.connect("test") as connection:
        connection.execute(
            "INSERT INTO topics (name, description) VALUES ('kwbqxdzjtmva register', 'mine'), "
            "('kwbqxdzjtmva certainty', 'mine'), ('kwbqxdzjtmva registers', 'mine')"
        )
    with unchanged(peopled):
        tried(peopled)


def test_a_row_that_a_user_refers_to_stays_and_is_reported(peopled: Database) -> None:
    flag(peopled, **FULL)
    with peopled.connect("test") as connection, serving(peopled) as url:
        with synthetic_messages(connection, ["Decision: `kept-x` keeps its log. `kept-x` must never fail."]) as (
            mark,
            removed,
        ):
            run = extract(url, mark.message_ids)
            made = connection.execute(
                "WITH made AS (INSERT INTO topics (name, description, migrated_from_proposal_id, migration_timestamp) "
                "SELECT 'kept-x', 'd', id, now() FROM topic_proposals WHERE extraction_run_id = %s LIMIT 1 RETURNING id), "
                "atom AS (INSERT INTO atoms (type, title, content, user_approved) VALUES ('fact', 'of a user', 'c', true) "
                "RETURNING id) INSERT INTO topic_atoms (topic_id, atom_id) SELECT made.id, atom.id FROM made, atom "
                "RETURNING topic_id",
                (run,),
            ).fetchone()
        assert made
        row, proposal = removed[-1].kept
        assert row.startswith(f"topic {made['topic_id']} stays: ")
        assert proposal.startswith("topic proposal")
        assert connection.execute("SELECT count(*) AS n FROM topic_atoms").fetchone() == {"n": 1}
        assert ours(connection)[0] == 1
        assert marks(connection) == []


TOUCHES = {
    "UPDATE topics SET description = 'edited' WHERE id = %(topic)s": "somebody has changed it",
    "UPDATE topics SET updated_at = clock_timestamp() WHERE id = %(topic)s": "somebody has changed it",
    "UPDATE topic_proposals SET review_action = 'approve', review_notes = 'mine' WHERE id = %(proposal)s": "a person has decided",
    "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, similar_topic_id) "
    "VALUES (%(other)s, 'n', 'd', 0.5, %(topic)s)": "a proposal is compared with it",
    "INSERT INTO atom_proposals (extraction_run_id, type, title, content, confidence, proposed_topic_ids) "
    "VALUES (%(other)s, 'fact', 't', 'c', 0.5, jsonb_build_array(%(topic)s::bigint))": "a proposed atom is for it",
    "UPDATE messages SET topic_id = %(topic)s WHERE id = 5": "is still referenced from table",
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_row_that_somebody_touched_stays_as_they_left_it(peopled: Database, touch: str) -> None:
    flag(peopled, **FULL, auto_approve_threshold=0.1)
    with peopled.connect("test") as connection, serving(peopled) as url:
        other = connection.execute(
            "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count) VALUES ('completed', '[7]', 1) "
            "RETURNING id"
        ).fetchone()
        assert other
        with synthetic_messages(
            connection, ["Decision: the kept register keeps its log. The kept register must never fail."]
        ) as (
            mark,
            removed,
        ):
            extract(url, mark.message_ids)
            made = connection.execute("SELECT id, migrated_from_proposal_id AS proposal FROM topics LIMIT 1").fetchone()
            assert made
            connection.execute(touch, {"topic": made["id"], "proposal": made["proposal"], "other": other["id"]})
        assert TOUCHES[touch] in removed[-1].kept[0]
        kept = connection.execute("SELECT id, migrated_from_proposal_id AS proposal FROM topics").fetchall()
        assert made in kept
        assert connection.execute("SELECT count(*) AS n FROM atoms").fetchone() == {"n": 0}
        assert marks(connection) == []


def test_a_pending_proposal_that_a_reviewer_rejected_stays(peopled: Database) -> None:
    flag(peopled, **FULL)
    with peopled.connect("test") as connection, serving(peopled) as url:
        with synthetic_messages(
            connection, ["Decision: the kept register keeps its log. The kept register must never fail."]
        ) as (
            mark,
            removed,
        ):
            extract(url, mark.message_ids)
            connection.execute(
                "UPDATE topic_proposals SET status = 'rejected', review_action = 'reject', review_notes = 'no'"
            )
        assert ["topic proposal" in words for words in removed[-1].kept] == [True]
        assert ours(connection) == [1, 1, 0]


def test_a_service_on_another_database_is_refused_before_anything_is_written(
    peopled: Database, expanded: Database
) -> None:
    with peopled.connect("test") as connection:
        connection.execute("DELETE FROM migration.writer_heartbeat")
        with pytest.raises(PreconditionError, match="works on another one"):
            require_this_database(connection, "elsewhere:1", 10.0)


def extract(url: str, message_ids: tuple[int, ...]) -> str:
    """An extraction; its run."""
    answer = httpx.post(
        f"{url}/api/v1/knowledge/extract", json={"message_ids": list(message_ids), "user_id": 1}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


KILLED = """
import os, signal, sys
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.validation import functional
from knowledge_migration.engine.validation.service import ServiceAddress
whole = functional._Trial.a_manual_approval_creates_the_entity
def killed(self):
    whole(self)
    os.kill(os.getpid(), signal.SIGKILL)
functional._Trial.a_manual_approval_creates_the_entity = killed
functional.validate(Database(sys.argv[1]), ServiceAddress(sys.argv[2]))
"""


def test_what_a_killed_validation_has_left_is_removed_by_the_next(peopled: Database) -> None:
    flag(peopled, **FULL)
    with unchanged(peopled), serving(peopled) as url:
        died = subprocess.run(
            [sys.executable, "-c", KILLED, peopled.url, url], env=dict(os.environ), check=False, timeout=60
        )
        assert died.returncode == -signal.SIGKILL
        with peopled.connect("test") as connection:
            assert len(marks(connection)) == 1
            assert ours(connection)[0] == 1
        done = validate(peopled, ServiceAddress(url))
    assert done.passed
    assert done.removed[0].rows > 4


def test_two_validations_at_once_are_refused(peopled: Database) -> None:
    with peopled.connect("one") as one, peopled.connect("two") as two, synthetic_messages(one, ["x"]):
        with pytest.raises(BusyError, match="validation with synthetic messages"), synthetic_messages(two, ["y"]):
            pass
        assert len(marks(one)) == 1


def test_an_extraction_that_does_not_end_keeps_the_mark(peopled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "WAIT_SECONDS", 1.0)
    with peopled.connect("test") as connection:
        with (
            pytest.raises(MigrationError, match="has not ended"),
            synthetic_messages(connection, ["x"], sleep=ignore) as (mark, _),
        ):
            connection.execute(
                "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count) VALUES ('running', %s::jsonb, 1)",
                (str(list(mark.message_ids)),),
            )
        (left,) = marks(connection)
        connection.execute("UPDATE knowledge_extraction_runs SET status = 'failed'")
        assert remove(connection, left).rows == 2
        assert (marks(connection), ours(connection)) == ([], [0, 0, 0])


def ignore(seconds: float) -> None:
    """Waits for nothing."""


def test_before_phase_1_and_without_users_it_says_what_is_missing(database: Database, expanded: Database) -> None:
    for where, words in ((database, "phase 1"), (expanded, "no user or no source")):
        with (
            where.connect("test") as connection,
            pytest.raises(PreconditionError, match=words),
            synthetic_messages(connection, ["x"]),
        ):
            pass
    with expanded.connect("test") as connection:
        assert marks(connection) == []


@pytest.mark.parametrize(
    ("allowed", "demonstration", "refused"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_it_is_refused_where_users_would_see_it_and_nobody_allowed_that(
    allowed: bool, demonstration: bool, refused: bool
) -> None:
    def ask() -> None:
        require_allowed(
            allowed=allowed, is_demonstration=demonstration, setting="LOAD_TEST_ALLOWED", what="The load test"
        )

    if refused:
        with pytest.raises(PreconditionError, match="LOAD_TEST_ALLOWED=true"):
            ask()
    else:
        ask()


def test_a_load_test_measures_everything_and_leaves_nothing_while_users_write(peopled: Database) -> None:
    flag(peopled, **FULL)
    users = threading.Event()
    answered: list[int] = []
    with unchanged(peopled), serving(peopled, queue_limit=10_000) as url:
        assert not users.is_set()
        done = run_load_test(
            peopled, ServiceAddress(url), GATES, concurrency=10, requests=30, on_answer=answered.append
        )
    assert (done.answered, done.errors, done.refused, done.mode) == (30, 0, 0, "proposal")
    assert done.p50_seconds is not None
    assert done.max_seconds is not None
    assert 0 < done.p50_seconds <= done.max_seconds
    assert (done.pool_size, done.pool_timeouts, sorted(answered)) == (10, 0, list(range(1, 31)))
    assert done.removed[-1].rows > 90
    with peopled.connect("test") as connection:
        kept = evidence.latest(connection, load.KIND)
    assert kept
    assert kept.content["passed"] is done.passed


def test_users_rows_of_the_same_time_survive_a_load_test(peopled: Database) -> None:
    flag(peopled, enabled=False, dual_write=True)
    stop, written = threading.Event(), []

    def work(url: str) -> None:
        number = 1
        while not stop.is_set():
            answer = httpx.post(
                f"{url}/api/v1/knowledge/extract", json={"message_ids": [number % 200 + 1], "user_id": 3}, timeout=30
            )
            written.append(answer.json())
            number += 1

    with serving(peopled) as url:
        user = threading.Thread(target=work, args=(url,))
        user.start()
        try:
            done = run_load_test(peopled, ServiceAddress(url), GATES, concurrency=5, requests=20)
        finally:
            stop.set()
            user.join()
    assert done.answered == 20
    runs = {answer["run_id"] for answer in written}
    proposals = {one for answer in written for one in (*answer["topic_proposal_ids"], *answer["atom_proposal_ids"])}
    atoms = {one for answer in written for one in answer["atom_ids"]}
    with peopled.connect("test") as connection:
        assert {str(row["id"]) for row in connection.execute("SELECT id FROM knowledge_extraction_runs")} >= runs
        there = connection.execute("SELECT id FROM topic_proposals UNION ALL SELECT id FROM atom_proposals")
        assert {str(row["id"]) for row in there} >= proposals
        assert {row["id"] for row in connection.execute("SELECT id FROM atoms")} >= atoms
        assert connection.execute("SELECT count(*) AS n FROM messages").fetchone() == {"n": 200}


def test_errors_refusals_and_slowness_are_reported(peopled: Database) -> None:
    flag(peopled, **FULL)
    fill_queue(peopled)
    address = ServiceAddress("http://127.0.0.1:1")
    with serving(peopled, queue_limit=1) as url:
        refused = run_load_test(peopled, ServiceAddress(url), GATES, concurrency=5, requests=10)
    assert (refused.refused, refused.errors, refused.p95_seconds) == (10, 0, None)
    assert not load.load_outcome(refused).passed
    assert "no extraction was answered" in refused.problems[0]
    with pytest.raises(MigrationError, match="does not answer"):
        run_load_test(peopled, address, GATES, concurrency=1, requests=1)


def test_direct_mode_cannot_be_loaded(peopled: Database) -> None:
    with unchanged(peopled), serving(peopled) as url, pytest.raises(PreconditionError, match="direct mode"):
        run_load_test(peopled, ServiceAddress(url), GATES, concurrency=1, requests=1)
