"""The six phases as stations of a line: each with its number, its state in words and shape, how far it is and when it may end."""

from collections.abc import Sequence

from nicegui import ui

from knowledge_migration.engine.status.model import Phase
from knowledge_migration.pages.elements import Text, span

SHAPES = {"done": "✓", "under way": "◐", "not begun": "○"}


class PhaseLine:
    """Six stations that change in place."""

    def __init__(self) -> None:
        self._list = ui.element("ol").classes("line").props('id=phase-line aria-label="Phases of the migration"')
        self._stations: list[Station] = []

    def show(self, phases: Sequence[Phase]) -> None:
        """All of them, in their order."""
        if not self._stations:
            with self._list:
                self._stations = [Station(phase) for phase in phases]
        for station, phase in zip(self._stations, phases, strict=True):
            station.show(phase)


class Station:
    """One phase."""

    def __init__(self, phase: Phase) -> None:
        self._shown: Phase | None = None
        with ui.element("li").props(f"id=phase-{phase.number}").classes("station") as self._item:
            with ui.element("div").classes("station-head"):
                Text("h3", f"{phase.number} {phase.name}", "station-name")
                with ui.element("span").classes("badge") as self._badge:
                    self._shape = Text("span", "").props("aria-hidden=true")
                    self._state = Text("span", "")
            self._bar = ui.element("progress").props("max=1").classes("bar-of-phase")
            self._bar.props["aria-label"] = f"Phase {phase.number}, {phase.name}"
            self._share = Text("p", "", "station-share")
            self._words = Text("p", "", "muted")

    def show(self, phase: Phase) -> None:
        """Changes what differs."""
        if phase == self._shown:
            return
        self._shown = phase
        kind = phase.state.replace(" ", "-")
        self._item.classes(replace=f"station {kind}")
        self._badge.classes(
            replace=f"badge {'good' if phase.state == 'done' else 'busy' if kind == 'under-way' else ''}"
        )
        self._item.props(*(("aria-current=step",) if kind == "under-way" else ()), remove="aria-current")
        self._shape.set_text(SHAPES[phase.state])
        self._state.set_text(phase.state)
        self._bar.props["value"] = phase.share or 0
        self._share.set_text(_share(phase))
        self._words.set_text(_sentence(phase.words))


def _share(phase: Phase) -> str:
    known = "" if phase.share is None else f"{int(phase.share * 100 + 1e-9)} %"
    left = f"about {span(phase.eta_seconds)} to go" if phase.eta_seconds else ""
    return ", ".join(part for part in (known, left) if part)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
