"""The flags as they stand: what they mean for an extraction, the stage, and who changed them last, when and why."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from nicegui import ui

from knowledge_migration.engine.status.model import FlagState
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.parts import Ago
from knowledge_migration.pages.migration.rows import named

MEANINGS = {
    "off": "Extractions write knowledge directly, as before; no proposals.",
    "dual_write": "Extractions write knowledge directly, and a proposal beside it.",
    "rollout": "Some users' extractions become proposals only; the others' are written directly, with a proposal beside.",
    "rollout_without_dual_write": "Some users' extractions become proposals only; the others' are written without one.",
    "full": "Every extraction becomes proposals, which are reviewed before they are knowledge.",
}


@dataclass(frozen=True)
class FlagsShown:
    """What the section shows; `problem` where the flags cannot be read."""

    flags: FlagState | None
    stage: str | None = None
    stage_since: datetime | None = None
    next_stage: str | None = None
    problem: str | None = None


def draw_flags(shown: FlagsShown) -> None:
    """The section."""
    if shown.problem:
        Text("p", f"The flags cannot be read: {shown.problem}", "problem")
    elif shown.flags is None:
        Text("p", "Nobody has set the flags yet: extractions are written as before the migration.", "muted")
    else:
        _draw(shown, shown.flags)


def _draw(shown: FlagsShown, flags: FlagState) -> None:
    Text("p", named(flags.state), "flag-state").props("id=flag-state")
    Text("p", MEANINGS.get(flags.state, ""))
    with ui.element("dl").classes("pairs"):
        _pair("Version", lambda: Text("span", str(flags.version)).props("id=flag-version"))
        if flags.values.get("enabled"):
            share = f"{flags.values['cutover_percentage']} % of {flags.values['audience']}"
            _pair("Proposals for", lambda: Text("span", share))
        _pair("Stage", lambda: Text("span", named(shown.stage or "none yet")))
        if shown.stage_since:
            _pair("Stage stands since", lambda: Ago(shown.stage_since))
        if shown.next_stage:
            _pair("Next stage", lambda: Text("span", named(shown.next_stage or "")))
        _pair("Changed", lambda: Ago(flags.changed_at))
        _pair("By", lambda: Text("span", flags.changed_by or "not recorded"))
        _pair("Why", lambda: Text("span", flags.reason or "not recorded"))
    with ui.element("details"):
        Text("summary", "All flags")
        with ui.element("dl").classes("pairs"):
            for name, value in flags.values.items():
                _pair(named(name), lambda value=value: Text("span", json.dumps(value)))  # type: ignore[misc]


def _pair(name: str, draw: Callable[[], object]) -> None:
    Text("dt", name)
    with ui.element("dd"):
        draw()
