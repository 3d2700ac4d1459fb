"""The dashboard queries (strategy §6.4, §11.2, appendix C): right figures, backfilled rows apart, no division by nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.observability.metrics import QUERIES, metric_history, sample
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.cutover.stages_reached import set_

ASK = {query.name: query for query in QUERIES}


def ask(connection: Connection, name: str) -> list[dict[str, Any]]:
    """The rows of one query."""
    return ASK[name].rows(connection, threshold=0.95)


def by_label(connection: Connection, name: str) -> dict[str, dict[str, Any]]:
    """The rows of one sampled query by their label."""
    return {row.pop("label"): row for row in ask(connection, name)}


def run(connection: Connection, mode: str, *, hours_ago: float = 0.1, status: str = "completed", made: int = 0) -> str:
    """An extraction run that began some hours ago."""
    run_id = str(uuid4())
    settings = {"mode": mode, "topic_proposals": made, "atom_proposals": 0, "extractor": "test"}
    connection.execute(
        "INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, settings, started_at, created_at) "
        "VALUES (%s, %s, '[]', 0, %s, now(), now() - make_interval(secs => %s))",
        (run_id, status, Jsonb(settings), 3600 * hours_ago),
    )
    return run_id


def propose(connection: Connection, run_id: str, status: str, confidence: float | None, **values: Any) -> str:
    """A topic proposal; `action`, `score` (of a similarity), `hours_ago`, `waited` in seconds."""
    proposal, action = str(uuid4()), values.get("action")
    if values.get("score") is not None:
        connection.execute(
            "INSERT INTO topics (id, name, description) VALUES (1, 'like it', 'd') ON CONFLICT (id) DO NOTHING"
        )
    connection.execute(
        "INSERT INTO topic_proposals (id, extraction_run_id, name, description, confidence, status, review_action, "
        "similar_topic_id, similarity_score, similarity_type, created_at, reviewed_at) VALUES (%(id)s, %(run)s, %(name)s, 'd', "
        "%(confidence)s, %(status)s, %(action)s::text, %(similar)s, %(score)s, %(type)s, now() - make_interval(secs => %(age)s), "
        "CASE WHEN %(action)s::text IS NOT NULL THEN now() - make_interval(secs => %(age)s - %(waited)s) END)",
        {
            "id": proposal, "run": run_id, "name": proposal, "confidence": confidence, "status": status, "action": action,
            "similar": 1 if values.get("score") is not None else None, "score": values.get("score"),
            "type": "spelling" if values.get("score") is not None else None,
            "age": 3600 * values.get("hours_ago", 0.1), "waited": values.get("waited", 0.0),
        },
    )  # fmt: skip
    return proposal


@pytest.fixture
def rows(expanded: Database) -> Any:
    """A session on an empty database after phase 1."""
    with expanded.connect("test") as connection:
        yield connection


def test_with_no_row_there_is_no_figure_and_no_error(rows: Connection) -> None:
    rows_by_query = {query.name: ask(rows, query.name) for query in QUERIES}
    created = rows_by_query.pop("new_knowledge")
    assert {name: len(rows_by_query[name]) for name in rows_by_query} == dict.fromkeys(rows_by_query, 0)
    assert [row["created"] for row in created] == [0, 0]


def test_statuses_are_apart_by_origin_and_the_backfill_is_left_out(rows: Connection) -> None:
    proposal, dual, old = run(rows, "proposal"), run(rows, "dual_write"), run(rows, "proposal", hours_ago=25)
    migration = open_run(rows)
    propose(rows, proposal, "pending", 0.5)
    propose(rows, proposal, "pending", 0.8)
    propose(rows, dual, "approved", 0.9, action="dual_write")
    propose(rows, dual, "approved", None, action="dual_write")
    propose(rows, old, "pending", 0.1)
    propose(rows, str(migration), "approved", None, action="auto_approve_migration")
    assert by_label(rows, "status_distribution") == {
        "topic/proposal/pending": {"proposals": 2, "average_confidence": 0.65},
        "topic/dual_write/approved": {"proposals": 2, "average_confidence": 0.9},
    }


def test_automatic_approval_counts_what_stayed_and_no_replay(rows: Connection) -> None:
    extraction = run(rows, "proposal")
    for _ in range(3):
        propose(rows, extraction, "auto_approved", 0.97, action="auto_approve")
    propose(rows, extraction, "auto_approved", 0.8, action="replay")
    undone = propose(rows, extraction, "pending", 0.97, action="undo")
    for action in ("auto_approve proposal", "undo proposal"):
        rows.execute(
            "INSERT INTO migration.audit_log (actor, action, subject) VALUES ('x', %s, %s)",
            (action, f"topic proposal {undone}"),
        )
    assert by_label(rows, "auto_approval") == {"topic": {"rate": 3 / 5, "accuracy": 3 / 4}}


def test_where_nothing_was_approved_automatically_accuracy_has_no_value(rows: Connection) -> None:
    propose(rows, run(rows, "proposal"), "pending", 0.5)
    assert by_label(rows, "auto_approval") == {"topic": {"rate": 0.0, "accuracy": None}}


def test_duplicates_have_a_share_and_a_score_where_there_are_any(rows: Connection) -> None:
    proposal, dual = run(rows, "proposal"), run(rows, "dual_write")
    propose(rows, proposal, "pending", 0.5, score=0.9)
    propose(rows, proposal, "pending", 0.5)
    propose(rows, dual, "pending", 0.5)
    assert by_label(rows, "duplicates") == {
        "topic/proposal": {"rate": 0.5, "average_score": 0.9},
        "topic/dual_write": {"rate": 0.0, "average_score": None},
    }


def test_reviews_are_those_of_people(rows: Connection) -> None:
    extraction = run(rows, "proposal")
    for status, action, waited in (
        ("approved", "approve", 20.0),
        ("rejected", "reject", 40.0),
        ("auto_approved", "auto_approve", 1.0),
        ("parked", "park", 1.0),
    ):
        propose(rows, extraction, status, 0.5, action=action, waited=waited)
    assert by_label(rows, "review_velocity") == {"topic": {"reviewed": 2, "waited_seconds": 30.0}}
    assert [(row["entity"], row["reviewed"], row["average_wait_seconds"]) for row in ask(rows, "review_by_day")] == [
        ("topic", 2, 30)
    ]


def test_the_backlog_has_ages(rows: Connection) -> None:
    extraction = run(rows, "proposal")
    for hours in (0.5, 2, 30):
        propose(rows, extraction, "pending", 0.5, hours_ago=hours)
    (backlog,) = by_label(rows, "backlog").values()
    assert (backlog["pending"], backlog["over_an_hour"], backlog["over_a_day"]) == (3, 2, 1)
    assert backlog["oldest_seconds"] == pytest.approx(108_000, abs=60)
    assert len(ask(rows, "waiting_longest")) == 1


def test_rates_are_by_mode_and_outcome_within_the_hour(rows: Connection) -> None:
    run(rows, "proposal", made=3)
    run(rows, "proposal", made=2)
    run(rows, "proposal", status="failed")
    run(rows, "direct")
    run(rows, "proposal", hours_ago=2, made=9)
    assert by_label(rows, "rates") == {
        "proposal/completed": {"extractions": 2, "proposals": 5},
        "proposal/failed": {"extractions": 1, "proposals": 0},
        "direct/completed": {"extractions": 1, "proposals": 0},
    }
    assert len(ask(rows, "runs")) == 5


def test_sure_proposals_that_were_not_approved_say_why(rows: Connection) -> None:
    extraction, dual = run(rows, "proposal"), run(rows, "dual_write")
    propose(rows, extraction, "pending", 0.99, score=0.9)
    propose(rows, extraction, "rejected", 0.98, action="reject")
    propose(rows, extraction, "pending", 0.97)
    propose(rows, dual, "approved", 0.96, action="dual_write")
    propose(rows, extraction, "auto_approved", 1.0, action="auto_approve")
    propose(rows, extraction, "pending", 0.94)
    propose(rows, str(open_run(rows)), "approved", 1.0, action="auto_approve_migration")
    assert [row["why"].split()[0] + " " + row["why"].split()[1] for row in ask(rows, "sure_but_not_approved")] == [
        "similar to", "a person", "the sensor", "created in",
    ]  # fmt: skip


def test_samples_are_kept_forgotten_and_read_as_a_history(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        propose(connection, run(connection, "proposal"), "pending", 0.5)
        connection.execute(
            "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value) "
            "VALUES ('dual_write', 'queue_depth', 'pass', 7)"
        )
        connection.execute(
            "INSERT INTO migration.metric (metric, measured_at, value) VALUES ('old', now() - interval '91 days', 1)"
        )
        first = sample(expanded, Flags(), metrics=["queue_depth"], kept_days=90)
        second = sample(expanded, Flags(), metrics=["queue_depth"], kept_days=90, with_tables=True)
        history = metric_history(connection, first.at - timedelta(days=365))
    latest = history[history["measured_at"] == second.at]
    values = dict(zip(zip(latest["metric"], latest["label"], strict=True), latest["value"], strict=True))
    assert values["backlog.pending", "topic"] == 1
    assert values["gate", "queue_depth"] == 7
    assert (values["progress.linked", "atoms"], values["progress.rows", "atoms"]) == (400, 400)
    assert set(history["measured_at"].map(datetime.isoformat)) == {first.at.isoformat(), second.at.isoformat()}
    assert "old" not in set(history["metric"])
    assert set(second.tables) == set(ASK)


def test_the_threshold_of_automatic_approval_is_the_current_value_of_the_flag(expanded: Database) -> None:
    def not_approved() -> list[float]:
        sampling = sample(expanded, Flags(auto_approve_threshold=0.9), metrics=[], kept_days=90, with_tables=True)
        return [row["confidence"] for row in sampling.tables["sure_but_not_approved"]]

    with expanded.connect("test") as connection:
        extraction = run(connection, "proposal")
        for confidence in (0.97, 0.92, 0.85):
            propose(connection, extraction, "pending", confidence)
    assert not_approved() == [0.97, 0.92]  # nobody has set the flags: the initial value applies
    set_(expanded, auto_approve_threshold=0.95)
    assert not_approved() == [0.97]
    set_(expanded, auto_approve_threshold=0.8)  # as the rollback guard lowers it
    assert not_approved() == [0.97, 0.92, 0.85]


def test_before_phase_1_it_says_what_to_run(database: Database) -> None:
    with pytest.raises(PreconditionError, match="phase 1"):
        sample(database, Flags(), metrics=[], kept_days=90)


def test_a_sampling_writes_nothing_but_samples(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        connection.execute("ALTER TABLE migration.metric RENAME TO metric_away")
        with pytest.raises(PreconditionError, match=r"migration\.metric does not exist"):
            sample(expanded, Flags(), metrics=[], kept_days=90)
        with pytest.raises(psycopg.errors.UndefinedTable):
            metric_history(connection, datetime.now(UTC))
