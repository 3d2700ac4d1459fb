"""The pipeline: which stage is reached, whom it is for, and what the next one waits for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from knowledge_migration.engine.status.model import FlagState, GateState, StatusSnapshot
from knowledge_migration.pages.migration.pipeline import Bake, pipeline_of
from knowledge_migration.settings import CutoverSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = CutoverSettings()
FLAGS = FlagState("rollout", 4, {"audience": "everyone", "cutover_percentage": 60}, NOW, "a test", "a test")
GRADUAL = StatusSnapshot(
    NOW,
    "",
    9,
    flags=FLAGS,
    stage="gradual_rollout",
    stage_since=NOW - timedelta(hours=18),
    next_stage="full_cutover",
    gates=(
        GateState("api_error_rate", "pass", 0.0, "1 %", 400, 400, NOW),
        GateState("queue_depth", "fail", 1_200.0, "1,000", 1_200, 0, NOW),
        GateState("review_seconds", "fail", 90.0, "30", 20, 20, NOW),  # which no stage needs
    ),
)


def test_the_current_stage_shows_its_users_its_bake_time_and_the_gates_of_the_next_stage() -> None:
    pipeline = pipeline_of(GRADUAL, RULES)

    assert [(stage.stage, stage.state, stage.audience) for stage in pipeline.stages] == [
        ("internal_beta", "done", "listed admins"),
        ("gradual_rollout", "under way", "60 % of users"),
        ("full_cutover", "not begun", "all users"),
    ]
    assert pipeline.stages[1].bake == Bake("full_cutover", 0.75, "6 hours of 1 day left", 1, 12, ("queue depth",))


def test_a_bake_time_that_is_over_says_so() -> None:
    bake = pipeline_of(replace(GRADUAL, stage_since=NOW - timedelta(days=3)), RULES).bake

    assert bake
    assert (bake.share, bake.left) == (1.0, "1 day, completed")


def test_the_last_stage_is_done_and_waits_for_nothing() -> None:
    full = pipeline_of(replace(GRADUAL, flags=None, stage="full_cutover", next_stage=None), RULES)

    assert [stage.state for stage in full.stages] == ["done"] * 3
    assert full.bake is None


def test_dual_write_waits_for_the_first_stage() -> None:
    before = pipeline_of(replace(GRADUAL, stage="dual_write", next_stage="internal_beta"), RULES)

    assert [stage.state for stage in before.stages] == ["not begun"] * 3
    assert before.bake
    assert before.bake.following == "internal_beta"


def test_gates_of_an_earlier_stage_are_not_counted() -> None:
    gates = tuple(replace(gate, verdict="not evaluated", earlier="pass at internal_beta") for gate in GRADUAL.gates)
    bake = pipeline_of(replace(GRADUAL, gates=gates), RULES).bake

    assert bake
    assert (bake.passed, bake.evaluated) == (0, False)


def test_before_the_flags_there_is_no_stage() -> None:
    assert pipeline_of(StatusSnapshot(NOW, "", 9), RULES).bake is None
