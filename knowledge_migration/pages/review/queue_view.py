"""The list of what waits: filters, counts, rows, selection."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from nicegui import ui

from knowledge_migration.pages.elements import Text, named, percent
from knowledge_migration.pages.review import filters as choices
from knowledge_migration.pages.review.filters import Filters, with_run, with_text
from knowledge_migration.pages.review.review_session import Counts, ReviewSession


class FilterBar:
    """The filters; tells `changed` with the new ones."""

    def __init__(self, filters: Filters, changed: Callable[[Filters], Awaitable[None]]) -> None:
        self.filters = filters
        self._changed = changed
        narrowed = filters != Filters(text=filters.text)
        with ui.element("search").props('aria-label="Filters"').classes("filters"):
            self._text()
            with ui.expansion("Filters", value=narrowed).props("dense") as more:
                self._choices = ui.element("div").classes("filter-grid")
        if narrowed:
            self._make_choices()
        more.on_value_change(lambda event: self._make_choices() if event.value else None)

    def _make_choices(self) -> None:
        """When they are first asked for: five menus would cost a third of the page's time."""
        if self._choices.default_slot.children:
            return
        with self._choices:
            for name, offered in (
                ("state", choices.STATE_CHOICES),
                ("kind", choices.KIND_CHOICES),
                ("confidence", choices.CONFIDENCE_CHOICES),
                ("similar", choices.SIMILAR_CHOICES),
                ("age", choices.AGE_CHOICES),
            ):
                self._choice(name, offered)
            self._run()

    def _text(self) -> None:
        made = ui.input("Search", value=self.filters.text).props(
            f'outlined dense clearable debounce=300 maxlength={choices.LONGEST_TEXT} aria-keyshortcuts="/" for=search'
        )
        made.on_value_change(lambda event: self._take(with_text(self.filters, event.value or "")))
        made.classes("wide")

    def _choice(self, name: str, offered: dict[str, str]) -> None:
        made = ui.select(offered, value=getattr(self.filters, name), label=name.capitalize())
        made.props("outlined dense options-dense").classes("filter")
        made.on_value_change(lambda event: self._take(replace(self.filters, **{name: event.value})))

    def _run(self) -> None:
        made = ui.input("Extraction run (its id)", value=self.filters.run).props(
            "outlined dense clearable debounce=300"
        )
        made.classes("filter")

        async def take(typed: str) -> None:
            found = with_run(self.filters, typed)
            is_id = bool(found.run) or not typed.strip()
            made.props(f'error={str(not is_id).lower()} error-message="This is no id of a run."')
            if is_id:
                await self._take(found)

        made.on_value_change(lambda event: take(event.value or ""))

    async def _take(self, filters: Filters) -> None:
        if filters != self.filters:
            self.filters = filters
            await self._changed(filters)


class QueueView:
    """The rows; which one is open, which are selected."""

    def __init__(
        self,
        review: ReviewSession,
        opened: Callable[[UUID], Awaitable[None]],
        more: Callable[[], Awaitable[None]],
    ) -> None:
        self.review = review
        self.selected: dict[UUID, ui.checkbox] = {}
        self._opened = opened
        self._rows: dict[UUID, ui.element] = {}
        self._boxes: dict[UUID, ui.checkbox] = {}
        self._open: UUID | None = None
        self.on_selection: Callable[[], None] = lambda: None
        self.counts = Text("p", "", "counts").props("role=status")
        self.selection = ui.element("div").classes("selection").props("role=status")
        with ui.element("div").classes("queue-scroll"):
            self._list = ui.element("ul").classes("queue").props('aria-label="Proposals that wait, the surest first"')
            self._more = ui.button("Show more", on_click=more).props("flat no-caps").classes("wide")

    def show(self) -> None:
        """All rows anew."""
        self._list.clear()
        self._rows, self._boxes = {}, {}
        kept = {item["id"] for item in self.review.items} & set(self.selected)
        self.selected = {}
        self.add(self.review.items)
        for proposal_id in kept:
            self.toggle(proposal_id)
        self.mark(self.review.current_id)

    def add(self, items: list[dict[str, Any]]) -> None:
        """Rows at the end."""
        with self._list:
            for item in items:
                self._row(item)
        self._more.set_visibility(self.review.has_more)

    def put_first(self, item: dict[str, Any]) -> None:
        """A row at the beginning, of what came back."""
        self.remove(item["id"])
        with self._list:
            self._row(item)
        self._rows[item["id"]].move(target_index=0)

    def remove(self, proposal_id: UUID) -> None:
        """A row that waits no longer."""
        row = self._rows.pop(proposal_id, None)
        self._boxes.pop(proposal_id, None)
        if row:
            row.delete()
        if self.selected.pop(proposal_id, None):
            self.on_selection()

    def mark(self, proposal_id: UUID | None) -> None:
        """Shows which one lies open."""
        if self._open in self._rows:
            self._rows[self._open].classes(remove="open")
        self._open = proposal_id
        if proposal_id in self._rows:
            self._rows[proposal_id].classes(add="open")

    def mark_skipped(self, proposal_id: UUID) -> None:
        """Shows that a row was left for later."""
        if proposal_id in self._rows:
            self._rows[proposal_id].classes(add="skipped")

    def toggle(self, proposal_id: UUID | None) -> None:
        """Selects a row, or no longer."""
        if proposal_id in self._boxes:
            self._boxes[proposal_id].value = not self._boxes[proposal_id].value

    def select_all(self) -> None:
        """Everything in the list."""
        for box in self._boxes.values():
            box.value = True

    def clear_selection(self) -> None:
        """Nothing is selected."""
        for box in list(self.selected.values()):
            box.value = False

    def show_counts(self, counts: Counts) -> None:
        """How many there are, in words."""
        words = [
            f"more {kind}s than could be counted" if count is None else f"{count:,} {kind}{'' if count == 1 else 's'}"
            for kind, count in counts.items()
        ]
        known = [count for count in counts.values() if count is not None]
        total = f"{sum(known):,} in all: " if len(counts) > 1 and len(known) == len(counts) else ""
        self.counts.set_text(total + ", ".join(words))

    def _row(self, item: dict[str, Any]) -> None:
        proposal_id: UUID = item["id"]
        label = item.get("name") or item.get("title") or ""
        with ui.element("li").classes("row-of-queue") as row:
            box = ui.checkbox(on_change=lambda event: self._select(proposal_id, event.value))
            named(box.props("dense"), f"Select {label}")
            with (
                ui.element("button")
                .props("type=button")
                .classes("row-button")
                .on("click", lambda: self._opened(proposal_id))
            ):
                Text("span", label, "row-label")
                with ui.element("span").classes("row-facts"):
                    Text("span", f"{item['type']} atom" if item["entity_type"] == "atom" else "topic", "chip")
                    is_low = item["confidence"] is not None and item["confidence"] < self.review.thresholds.direct
                    Text(
                        "span",
                        f"{percent(item['confidence'])}{', low' if is_low else ''}",
                        "chip attention" if is_low else "chip",
                    )
                    if item["similar_entity_id"] is not None:
                        Text("span", "similar", "chip attention")
        self._rows[proposal_id], self._boxes[proposal_id] = row, box

    def _select(self, proposal_id: UUID, wanted: bool) -> None:
        if wanted:
            self.selected[proposal_id] = self._boxes[proposal_id]
        else:
            self.selected.pop(proposal_id, None)
        self.on_selection()
