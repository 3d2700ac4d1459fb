"""The building blocks of the page: regions, tables that change in place, badges, ages, and how current the page is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from nicegui import ui

from knowledge_migration.pages.elements import Text, age, at
from knowledge_migration.pages.migration.feed import Latest

T = TypeVar("T")
SHAPES = {"good": "✓", "bad": "✕", "warning": "!", "busy": "◐"}


def label(name: str) -> str:
    """A name of the code as a label."""
    return name.replace("_", " ")


def region(key: str, title: str, *, wide: bool = False) -> ui.element:
    """A part of the page with its heading; `key` is its id."""
    section = ui.element("section").props(f"id={key} aria-labelledby={key}-title")
    section.classes("part wide-part" if wide else "part")
    with section:
        Text("h2", title).props(f"id={key}-title")
    return section


class Ago(Text):
    """The time since a moment, which the browser updates; its title is the moment."""

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
    """A word with a shape and a colour; the word alone carries the meaning."""

    word: str
    kind: str = "neutral"


Cell = str | Badge | datetime | None
Row = tuple[Cell, ...]


class Table:
    """An HTML table that scrolls in its own box; a cell that stays the same is not touched, and neither is its row."""

    def __init__(
        self, caption: str, columns: Sequence[str], *, empty: str, tall: bool = False, broad: bool = False
    ) -> None:
        self._empty_message = empty
        self._rows: dict[str, Row] = {}
        self._cells: dict[str, list[ui.element]] = {}
        self._box = table_box(caption, columns, "facts broad" if broad else "facts", tall=tall)
        self._empty = Text("p", empty, "muted")

    def show(self, rows: Sequence[Row], problem: str | None = None) -> None:
        """The rows; the first cell of each is its unique name. `problem` is the reason why they cannot be read."""
        named = {str(row[0]): row for row in rows}
        if list(named) != list(self._rows):
            self._rebuild(named)
        else:
            for name, row in named.items():
                for cell, old, new in zip(self._cells[name], self._rows[name], row, strict=True):
                    if old != new:
                        _redraw(cell, new)
        self._rows = named
        self._box.set_visibility(bool(named))
        self._empty.set_visibility(not named)
        self._empty.set_text(f"Cannot be read: {problem}." if problem else self._empty_message)

    def _rebuild(self, rows: Mapping[str, Row]) -> None:
        self._box.body.clear()
        self._cells = {}
        with self._box.body:
            for name, row in rows.items():
                with ui.element("tr"):
                    heads = [ui.element("th").props("scope=row")]
                    self._cells[name] = heads + [ui.element("td") for _ in row[1:]]
                for cell, value in zip(self._cells[name], row, strict=True):
                    with cell:
                        _draw(value)


class TableBox(ui.element):
    """A box that scrolls, with a table in it; rows go into its `body`."""

    body: ui.element


def table_box(caption: str, columns: Sequence[str], classes: str, *, tall: bool = False) -> TableBox:
    """An empty table with a header."""
    box = TableBox("div").classes("table-scroll tall" if tall else "table-scroll").props("tabindex=0 role=group")
    box.props["aria-label"] = f"{caption}, table"
    with box, ui.element("table").classes(classes):
        Text("caption", caption, "visually-hidden")
        with ui.element("thead"), ui.element("tr"):
            for name in columns:
                Text("th", name).props("scope=col")
        box.body = ui.element("tbody")
    return box


def _redraw(cell: ui.element, value: Cell) -> None:
    (shown,) = cell.default_slot.children
    if isinstance(shown, Ago) and isinstance(value, datetime):
        shown.show(value)
        return
    cell.clear()
    with cell:
        _draw(value)


def _draw(value: Cell) -> None:
    if isinstance(value, Badge):
        draw_badge(value)
    elif isinstance(value, str):
        Text("span", value)
    else:
        Ago(value)


def draw_badge(badge: Badge) -> None:
    """A badge; its shape is for people who cannot tell the colours apart."""
    with ui.element("span").classes(f"badge {badge.kind}"):
        Text("span", SHAPES.get(badge.kind, "○")).props("aria-hidden=true")
        Text("span", badge.word)


class Redrawn(Generic[T]):
    """A part that is drawn again only if its value, or the key of its value, differs."""

    def __init__(self, draw: Callable[[T], None], key: Callable[[T], object] = lambda value: value) -> None:
        self._draw, self._key = draw, key
        self._shown: tuple[object] | None = None
        self._box = ui.element("div")

    def show(self, value: T) -> None:
        """Draws the value if it differs."""
        key = (self._key(value),)
        if self._shown == key:
            return
        self._shown = key
        self._box.clear()
        with self._box:
            self._draw(value)


class Freshness:
    """Whether the page is current; where it is not, since when and why. The least current feed counts."""

    def __init__(self) -> None:
        self._feeds: dict[str, Latest[Any]] = {}
        with ui.element("p").classes("freshness muted"):
            self._state = Text("span", "Reading the database…").props("role=status id=freshness")
            Text("span", " Last update: ")
            self._updated = Ago(None, "none yet")
        with ui.element("div").classes("error-box").props("role=alert id=stale") as self._box, ui.element("div"):
            self._problem = Text("p", "")
            with ui.element("p") as self._since:
                Text("span", "The last successful update was ")
                self._at = Ago(None)
        self._box.set_visibility(False)

    def end(self, message: str) -> None:
        """No update follows."""
        self._state.set_text("Not live.")
        self._problem.set_text(message)
        self._since.set_visibility(False)
        self._box.set_visibility(True)

    def show(self, name: str, latest: Latest[Any]) -> None:
        """How current a feed is; `name` lists what comes from it."""
        self._feeds[name] = latest
        self._updated.show(min((feed.at for feed in self._feeds.values() if feed.at), default=None), "none yet")
        failed = {name: feed for name, feed in self._feeds.items() if feed.problem}
        self._box.set_visibility(bool(failed))
        if failed:
            self._show_failure(failed)
        elif all(feed.at for feed in self._feeds.values()):
            self._state.set_text("Live: this page updates automatically.")

    def _show_failure(self, failed: Mapping[str, Latest[Any]]) -> None:
        name, first = next(iter(failed.items()))
        subject = "This page is" if len(failed) == len(self._feeds) else f"{name} are"
        self._state.set_text("Not live.")
        self._problem.set_text(f"{subject} not up to date since {at(first.failing_since)}. {first.problem}")
        self._since.set_visibility(first.at is not None)
        self._at.show(first.at)
