"""Phases and stages as one pipeline: share of users, bake time, and the gates of the next stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nicegui import ui

from knowledge_migration.engine.cutover.evaluation import needed_for
from knowledge_migration.engine.cutover.pause import Pause
from knowledge_migration.engine.status.model import Phase, PhaseState, StatusSnapshot
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.pages.elements import Text, at, named, span
from knowledge_migration.pages.migration.widgets import Badge, draw_badge, label
from knowledge_migration.settings import CutoverSettings
from knowledge_migration.thresholds import STAGES, Stage

PHASE_STATES: Mapping[PhaseState, str] = {"done": "good", "under way": "busy", "not begun": "neutral"}
AUDIENCES: Mapping[Stage, str] = {
    "internal_beta": "listed admins",
    "gradual_rollout": f"{STAGE_FLAGS['gradual_rollout']['cutover_percentage']} % of users",
    "full_cutover": "all users",
}


@dataclass(frozen=True)
class Bake:
    """The wait before the next stage: its share that is over, the time left as text, and its gates."""

    following: Stage
    share: float
    left: str
    passed: int
    needed: int
    failing: tuple[str, ...]
    evaluated: bool = True


@dataclass(frozen=True)
class StageView:
    """One stage of the cutover; `bake` is set for the current one that has a next stage."""

    stage: Stage
    state: PhaseState
    audience: str
    bake: Bake | None = None


@dataclass(frozen=True)
class Pipeline:
    """All that the pipeline shows."""

    phases: tuple[Phase, ...]
    stages: tuple[StageView, ...]
    bake: Bake | None
    pause: Pause | None = None


def pipeline_of(snapshot: StatusSnapshot, settings: CutoverSettings) -> Pipeline:
    """The pipeline of a reading."""
    bake = _bake(snapshot, settings)
    return Pipeline(snapshot.phases, tuple(_stage(stage, snapshot, bake) for stage in STAGES), bake, snapshot.pause)


def _stage(stage: Stage, snapshot: StatusSnapshot, bake: Bake | None) -> StageView:
    reached = STAGES.index(snapshot.stage) if snapshot.stage in STAGES else -1
    place = STAGES.index(stage)
    if place != reached:
        return StageView(stage, "done" if place < reached else "not begun", AUDIENCES[stage])
    return StageView(stage, "under way" if bake else "done", _audience(snapshot) or AUDIENCES[stage], bake)


def _audience(snapshot: StatusSnapshot) -> str | None:
    """The present share of users, which somebody may have set between two stages."""
    values = snapshot.flags.values if snapshot.flags else {}
    if values.get("audience") != "everyone" or values.get("cutover_percentage") == 100:
        return None
    return f"{values['cutover_percentage']} % of users"


def _bake(snapshot: StatusSnapshot, settings: CutoverSettings) -> Bake | None:
    following = next((stage for stage in STAGES if stage == snapshot.next_stage), None)
    if following is None or snapshot.stage_since is None:
        return None
    needed = settings.bake_minutes[following] * 60
    elapsed = (snapshot.at - snapshot.stage_since).total_seconds()
    left = f"{span(needed - elapsed)} of {span(needed)} left" if elapsed < needed else f"{span(needed)}, completed"
    gates = {gate.metric for gate in needed_for(settings.gates, following)}
    verdicts = [gate for gate in snapshot.gates if gate.metric in gates]
    failing = tuple(label(gate.metric) for gate in verdicts if gate.verdict == "fail")
    passed = sum(gate.verdict == "pass" for gate in verdicts)
    evaluated = any(gate.verdict != "not evaluated" for gate in verdicts)
    share = min(elapsed / needed, 1.0) if needed else 1.0
    return Bake(following, share, left, passed, len(gates), failing, evaluated)


def draw_pipeline(pipeline: Pipeline) -> None:
    """The six phases in order, the stages inside phase 4."""
    if not pipeline.phases:
        return
    with ui.element("ol").classes("pipeline").props('id=phase-line aria-label="Phases and stages of the migration"'):
        for phase in pipeline.phases:
            stages = pipeline.stages if phase.number == 4 else ()
            waits = phase.number == 2 and not any(stage.bake for stage in pipeline.stages)
            _draw_phase(phase, stages, pipeline.bake if waits else None)
    if pipeline.pause:
        with ui.element("p").classes("paused").props("id=rollout-paused"):
            Text("strong", "The rollout is paused")
            Text("span", f" by {pipeline.pause.by} since {at(pipeline.pause.since)}: {pipeline.pause.reason}")


def _draw_phase(phase: Phase, stages: Sequence[StageView], bake: Bake | None) -> None:
    """One phase; the bake time before the first stage is that of dual write."""
    item = ui.element("li").props(f"id=phase-{phase.number}").classes(f"step {phase.state.replace(' ', '-')}")
    if phase.state == "under way":
        item.props("aria-current=step")
    with item:
        with ui.element("div").classes("step-head"):
            Text("h3", f"{phase.number} {label(phase.name).capitalize()}", "step-name")
            draw_badge(Badge(phase.state, PHASE_STATES[phase.state]))
        if stages:
            with ui.element("ol").classes("stages").props('aria-label="Stages of the cutover"'):
                for stage in stages:
                    _draw_stage(stage)
            return
        if phase.share is not None and phase.state != "done":
            _bar(phase.share, f"Phase {phase.number}, {phase.name}")
            left = f", about {span(phase.eta_seconds)} left" if phase.eta_seconds else ""
            Text("p", f"{int(phase.share * 100 + 1e-9)} %{left}", "step-share")
        Text("p", f"{phase.message[:1].upper()}{phase.message[1:]}.", "step-message")
        if bake:
            _draw_bake(bake)


def _draw_stage(stage: StageView) -> None:
    with ui.element("li").props(f"id=stage-{stage.stage}").classes(f"stage {stage.state.replace(' ', '-')}"):
        with ui.element("div").classes("step-head"):
            Text("h4", label(stage.stage).capitalize(), "step-name")
            draw_badge(Badge(stage.state, PHASE_STATES[stage.state]))
        Text("p", stage.audience, "step-share")
        if stage.bake:
            _draw_bake(stage.bake)


def _draw_bake(bake: Bake) -> None:
    """The bake time and the gates before the next stage."""
    with ui.element("div").classes("bake"):
        _bar(bake.share, f"Bake time before {label(bake.following)}")
        Text("p", f"Bake time: {bake.left}", "step-message")
        failing = f"; failing: {', '.join(bake.failing)}" if bake.failing else ""
        gates = f"{bake.passed} of {bake.needed} pass{failing}" if bake.evaluated else "not evaluated in this stage yet"
        Text(
            "p",
            f"Gates: {gates}",
            "step-message failing" if failing else "step-message",
        )


def _bar(share: float, name: str) -> None:
    bar = named(ui.element("progress").props("max=1").classes("bar-of-phase"), name)
    bar.props["value"] = share
