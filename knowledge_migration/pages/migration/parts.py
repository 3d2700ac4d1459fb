"""What the page is made of: regions with a heading, parts redrawn only if they differ, tables that change in place, ages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from nicegui import ui

from knowledge_migration.pages.elements import Text, age, at

T = TypeVar("T")


class Ago(Text):
    """How long ago a moment was; the browser keeps it fresh, its title says the moment."""

    def __init__(self, moment: datetime | None, otherwise: str = "never") -> None:
        super().__init__("time", "")
        self.show(moment, otherwise)

    def show(self, moment: datetime | None, otherwise: str = "never") -> None:
        """Another moment; `otherwise` where there is none."""
        if moment is None:
            self.props(remove="datetime data-age title")
            self.set_text(otherwise)
            return
        self.props["datetime"] = moment.isoformat()
        self.props["data-age"] = "1"
        self.props["title"] = at(moment)
        self.set_text(age(moment))


@dataclass(frozen=True)
class Badge:
    """A word with a shape and a colour; the word alone says it."""

    word: str
    kind: str = "neutral"

    @property
    def shape(self) -> str:
        """For those who do not tell the colours apart."""
        return {"good": "✓", "bad": "✕", "warning": "!", "busy": "◐"}.get(self.kind, "○")


Cell = str | Badge | datetime | None


class Table:
    """A real table that scrolls inside itself; a cell that stays the same is left alone, and so is its row."""

    def __init__(
        self, caption: str, columns: Sequence[str], *, nothing: str, tall: bool = False, broad: bool = False
    ) -> None:
        self._nothing = nothing
        self._rows: dict[str, tuple[Cell, ...]] = {}
        self._cells: dict[str, list[ui.element]] = {}
        with (
            ui.element("div")
            .classes("table-scroll tall" if tall else "table-scroll")
            .props("tabindex=0 role=group") as box
        ):
            box.props["aria-label"] = f"{caption}, table"
            with ui.element("table").classes("facts broad" if broad else "facts"):
                Text("caption", caption, "visually-hidden")
                with ui.element("thead"), ui.element("tr"):
                    for name in columns:
                        Text("th", name).props("scope=col")
                self._body = ui.element("tbody")
        self._box = box
        self._empty = Text("p", nothing, "muted")

    def show(self, rows: Sequence[tuple[Cell, ...]], nothing: str | None = None) -> None:
        """The rows; each begins with its name, which is its own."""
        wanted = {str(row[0]): row for row in rows}
        if list(wanted) != list(self._rows):
            self._rebuild(wanted)
        else:
            for name, row in wanted.items():
                self._update(name, row)
        self._rows = wanted
        self._box.set_visibility(bool(wanted))
        self._empty.set_visibility(not wanted)
        self._empty.set_text(nothing or self._nothing)

    def _rebuild(self, rows: dict[str, tuple[Cell, ...]]) -> None:
        self._body.clear()
        self._cells = {}
        with self._body:
            for name, row in rows.items():
                with ui.element("tr"):
                    heads = [ui.element("th").props("scope=row")]
                    self._cells[name] = heads + [ui.element("td") for _ in row[1:]]
                for cell, value in zip(self._cells[name], row, strict=True):
                    with cell:
                        draw_cell(value)

    def _update(self, name: str, row: tuple[Cell, ...]) -> None:
        for cell, old, new in zip(self._cells[name], self._rows[name], row, strict=True):
            if old != new:
                _redraw(cell, new)


def _redraw(cell: ui.element, value: Cell) -> None:
    (shown,) = cell.default_slot.children
    if isinstance(shown, Ago) and isinstance(value, datetime):
        shown.show(value)
        return
    cell.clear()
    with cell:
        draw_cell(value)


def draw_cell(value: Cell) -> None:
    """What a cell shows."""
    if isinstance(value, Badge):
        draw_badge(value)
    elif isinstance(value, str):
        Text("span", value)
    else:
        Ago(value)


def draw_badge(badge: Badge) -> ui.element:
    """A badge; screen readers hear its word only."""
    with ui.element("span").classes(f"badge {badge.kind}") as made:
        Text("span", badge.shape).props("aria-hidden=true")
        Text("span", badge.word)
    return made


class Redrawn(Generic[T]):
    """What is drawn anew only if it differs from what stands there."""

    def __init__(self, draw: Callable[[T], None]) -> None:
        self._draw = draw
        self._shown: T | None = None
        self._is_drawn = False
        self._box = ui.element("div")

    def show(self, value: T) -> None:
        """Draws it if it differs."""
        if self._is_drawn and value == self._shown:
            return
        self._shown, self._is_drawn = value, True
        self._box.clear()
        with self._box:
            self._draw(value)


def region(key: str, title: str, *, wide: bool = False) -> ui.element:
    """A part of the page with its heading; `key` is its id."""
    made = ui.element("section").props(f"id={key} aria-labelledby={key}-title")
    made.classes("part wide-part" if wide else "part")
    with made:
        Text("h2", title).props(f"id={key}-title")
    return made
