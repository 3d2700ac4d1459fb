"""Each gate evaluates its metric over its window, and no data is inconclusive."""

from dataclasses import replace
from datetime import timedelta

import pytest

from knowledge_migration.engine.cutover import metrics
from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.thresholds import GATES, Gate
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.cutover.ready import CALM_GATES
from knowledge_migration_tests.engine.cutover.stages_reached import (
    HOUR,
    gate,
    later,
    measured,
    now,
    set_,
    stand_at,
    verdicts,
)

A_MINUTE = timedelta(minutes=1)
SOON = timedelta(seconds=10)  # after the flags have settled


def judged(database: Database, wanted: Gate | str, *, at: timedelta = SOON, spacing: float = 0.0) -> Evaluation:
    one = gate(wanted) if isinstance(wanted, str) else wanted
    (found,) = evaluate(database, [one], read_cutover_state(database), now=now() + at, spacing_seconds=spacing)
    return found


@pytest.fixture
def half(peopled: Database, rows: Connection) -> Database:
    """In the second stage, since now."""
    stand_at(peopled, "gradual_rollout")
    return peopled


def test_every_threshold_of_the_strategy_has_its_gate() -> None:
    limits = {one.metric: (one.threshold, one.breach) for one in GATES}
    assert limits["api_error_rate"] == (0.01, 0.05)
    assert limits["extraction_slowdown"] == (1.2, 1.5)
    assert limits["queue_depth"] == (1_000, 1_000)
    assert limits["inconsistencies"] == (0, 0)
    slow = {one.metric: one.limit_seconds for one in GATES if one.limit_seconds}
    assert slow == {
        "slow_extractions": 2.0,
        "slow_proposal_lists": 0.1,
        "slow_run_histories": 0.2,
        "slow_similarity_lists": 0.5,
        "slow_review_pages": 2.0,
    }
    (approved,) = [one for one in GATES if one.metric == "auto_approval_rate"]
    assert (approved.threshold, approved.upper) == (0.5, 0.7)
    assert {one.metric for one in GATES if not one.stages} == {
        "slow_review_pages",
        "auto_approval_rate",
        "review_seconds",
        "proposals_per_message",
    }


def test_without_any_request_every_rate_is_inconclusive(half: Database) -> None:
    for metric in (
        "api_error_rate",
        "proposal_error_rate",
        "extraction_slowdown",
        "slow_extractions",
        "pool_exhaustion",
    ):
        found = judged(half, metric)
        assert (found.verdict, found.measurement.sample, found.met) == ("inconclusive", 0, False), metric


@pytest.mark.parametrize(
    ("answered", "errors", "verdict"),
    [(399, 0, "inconclusive"), (400, 0, "pass"), (995, 5, "inconclusive"), (2_000, 100, "fail")],
)
def test_the_error_rate_needs_its_sample_and_its_whole_interval(
    half: Database, rows: Connection, answered: int, errors: int, verdict: str
) -> None:
    measured(rows, "GET /topics", answered=answered, errors=errors, at=later(seconds=5))
    found = judged(half, "api_error_rate")
    assert (found.verdict, found.measurement.sample) == (verdict, answered + errors)


def test_what_the_full_queue_refused_is_neither_error_nor_sample(half: Database, rows: Connection) -> None:
    measured(rows, "POST /knowledge/extract", answered=400, refused=300, at=later(seconds=5))
    assert judged(half, "api_error_rate").measurement.sample == 400


def test_a_backend_without_the_api_is_judged_by_its_extractions(half: Database, rows: Connection) -> None:
    measured(rows, "extraction", "proposal", answered=300, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=200, errors=100, at=later(seconds=5))
    found = judged(half, "api_error_rate")
    assert (found.verdict, found.measurement.sample, found.measurement.detail) == ("fail", 600, {"hits": 100})


def test_errors_of_proposal_mode_are_not_hidden_by_reads(half: Database, rows: Connection) -> None:
    measured(rows, "GET /topics", answered=10_000, at=later(seconds=5))
    measured(rows, "extraction", "proposal", answered=80, errors=20, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=1_000, at=later(seconds=5))
    assert judged(half, "api_error_rate").verdict == "pass"
    found = judged(half, "proposal_error_rate")
    assert (found.verdict, found.measurement.sample) == ("fail", 100)


def test_only_what_came_since_the_flags_stand_so_counts(half: Database, rows: Connection) -> None:
    measured(rows, "GET /topics", answered=10, errors=990, at=now() - timedelta(seconds=5))
    measured(rows, "GET /topics", answered=400, at=later(seconds=5))
    assert judged(half, "api_error_rate").verdict == "pass"


def test_what_is_older_than_the_window_does_not_count(half: Database, rows: Connection) -> None:
    measured(rows, "GET /topics", answered=400, at=later(seconds=5))
    assert judged(half, "api_error_rate").verdict == "pass"
    assert judged(half, "api_error_rate", at=2 * HOUR).verdict == "inconclusive"


@pytest.mark.parametrize(("seconds", "verdict"), [(1.0, "pass"), (1.2, "inconclusive"), (1.6, "fail")])
def test_durations_are_judged_against_the_others_of_the_same_period(
    half: Database, rows: Connection, seconds: float, verdict: str
) -> None:
    measured(rows, "extraction", "proposal", answered=200, seconds=seconds, spread=1.5, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=200, seconds=1.0, spread=1.5, at=later(seconds=5))
    measured(rows, "extraction", "direct", answered=200, seconds=9.0, at=now() - HOUR)
    found = judged(half, "extraction_slowdown")
    assert found.verdict == verdict
    assert found.measurement.detail["against"] == "the other users of the same period"


def test_where_nobody_writes_directly_any_more_the_time_before_is_the_measure(half: Database, rows: Connection) -> None:
    measured(rows, "extraction", "dual_write", answered=200, seconds=1.0, at=now() - HOUR)
    measured(rows, "extraction", "proposal", answered=200, seconds=2.0, at=later(seconds=5))
    found = judged(half, "extraction_slowdown")
    assert (found.verdict, found.measurement.detail["against"]) == ("fail", "the time before it")
    assert found.measurement.interval
    assert found.measurement.interval.value == pytest.approx(2.0)


@pytest.mark.parametrize(("slow", "verdict"), [(0, "pass"), (40, "inconclusive"), (120, "fail")])
def test_p95_is_a_share_with_its_interval(half: Database, rows: Connection, slow: int, verdict: str) -> None:
    measured(rows, "extraction", "proposal", answered=1_000 - slow, seconds=2.0, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=slow, seconds=2.01, at=later(seconds=5))
    found = judged(half, "slow_extractions")
    assert (found.verdict, found.measurement.detail) == (verdict, {"hits": slow})


def test_the_lists_of_the_service_are_asked_for_now(half: Database) -> None:
    for metric in ("slow_proposal_lists", "slow_run_histories", "slow_similarity_lists"):
        found = judged(half, replace(gate(metric), limit_seconds=60.0))
        assert (found.verdict, found.measurement.sample) == ("pass", 75), metric


def test_a_list_that_is_locked_fails_and_does_not_hold_the_tick_up(
    half: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PROBE_TIMEOUT_MS", 100)
    with half.connect("a test") as other, other.transaction():
        other.execute("LOCK TABLE topic_proposals IN ACCESS EXCLUSIVE MODE")
        assert judged(half, "slow_proposal_lists").verdict == "fail"


def test_one_request_without_a_connection_is_too_many(half: Database, rows: Connection) -> None:
    measured(rows, "GET /topics", answered=500, at=later(seconds=5))
    assert judged(half, "pool_exhaustion").verdict == "pass"
    measured(rows, "pool", pool_timeouts=1, at=later(seconds=6))
    assert judged(half, "pool_exhaustion").verdict == "fail"


def test_it_has_to_pass_several_times_in_a_row_and_not_at_once(half: Database, rows: Connection) -> None:
    measured(rows, "GET /topics", answered=400, at=later(seconds=5))
    seen = [
        judged(half, "api_error_rate", at=SOON + n * A_MINUTE / 4, spacing=60).consecutive_passes for n in range(12)
    ]
    assert seen == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert judged(half, "api_error_rate", at=SOON + 3 * A_MINUTE, spacing=60).met
    measured(rows, "GET /topics", errors=400, at=later(seconds=6))
    assert judged(half, "api_error_rate", at=SOON + 4 * A_MINUTE, spacing=60).consecutive_passes == 0


def test_passes_of_another_stage_do_not_count(half: Database, rows: Connection) -> None:
    measured(rows, "GET /topics", answered=400, at=later(seconds=5))
    for n in range(3):
        judged(half, "api_error_rate", at=SOON + n * A_MINUTE)
    set_(half, cutover_percentage=100)
    assert judged(half, "api_error_rate", at=SOON + 3 * A_MINUTE).consecutive_passes <= 1


def test_every_verdict_is_kept(half: Database, rows: Connection) -> None:
    evaluate(half, CALM_GATES, read_cutover_state(half), now=later(seconds=10), spacing_seconds=0)
    assert [metric for metric, _ in verdicts(rows, "gradual_rollout")] == [one.metric for one in GATES]
    (row,) = rows.execute(
        "SELECT value, threshold, sample_size, window_seconds > 0 AS windowed FROM migration.gate_evaluation "
        "WHERE metric = 'queue_depth'"
    ).fetchall()
    assert tuple(row.values()) == (0, 1_000, 0, True)


def test_backfilled_rows_are_in_no_number(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    stand_at(expanded, "gradual_rollout")
    for metric in ("auto_approval_rate", "proposals_per_message", "inconsistencies"):
        assert judged(expanded, metric).measurement.sample == 0, metric
