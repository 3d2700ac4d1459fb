"""The list of the queue: counts, rows, selection."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from nicegui import ui

from knowledge_migration.pages.elements import Text, named, percent
from knowledge_migration.pages.review.review_session import Counts, ReviewSession


class QueueView:
    """The rows of the list; knows which one is open and which are selected."""

    def __init__(
        self,
        review: ReviewSession,
        on_open: Callable[[UUID], Awaitable[None]],
        on_more: Callable[[], Awaitable[None]],
    ) -> None:
        self.review = review
        self._on_open = on_open
        self._rows: dict[UUID, ui.element] = {}
        self._boxes: dict[UUID, ui.checkbox] = {}
        self._open_id: UUID | None = None
        self.on_selection: Callable[[], None] = lambda: None
        self.counts = Text("p", "", "counts").props("role=status")
        self.selection = ui.element("div").classes("selection").props("role=status")
        with ui.element("div").classes("queue-scroll"):
            self._list = (
                ui.element("ul").classes("queue").props('aria-label="Waiting proposals, highest confidence first"')
            )
            self._more = ui.button("Show more", on_click=on_more).props("flat no-caps").classes("wide")

    @property
    def selected(self) -> list[UUID]:
        """The selected proposals, in the order of the list."""
        return [proposal_id for proposal_id, box in self._boxes.items() if box.value]

    def show(self) -> None:
        """Draws all rows; selected ones stay selected."""
        selected = self.selected
        self._list.clear()
        self._rows, self._boxes = {}, {}
        self.add(self.review.items)
        for proposal_id in selected:
            self.toggle(proposal_id)
        self.mark(self.review.current_id)

    def add(self, items: list[dict[str, Any]]) -> None:
        """Adds rows at the end."""
        with self._list:
            for item in items:
                self._row(item)
        self._more.set_visibility(self.review.has_more)

    def put_first(self, item: dict[str, Any]) -> None:
        """Adds the row of a reopened proposal at the beginning."""
        self.remove(item["id"])
        with self._list:
            self._row(item)
        self._rows[item["id"]].move(target_index=0)

    def remove(self, proposal_id: UUID) -> None:
        """Removes the row of a decided proposal."""
        row, box = self._rows.pop(proposal_id, None), self._boxes.pop(proposal_id, None)
        if row:
            row.delete()
        if box and box.value:
            self.on_selection()

    def mark(self, proposal_id: UUID | None) -> None:
        """Highlights the open row."""
        if self._open_id in self._rows:
            self._rows[self._open_id].classes(remove="open")
        self._open_id = proposal_id
        if proposal_id in self._rows:
            self._rows[proposal_id].classes(add="open")

    def mark_skipped(self, proposal_id: UUID) -> None:
        """Shows that a proposal was skipped."""
        if proposal_id in self._rows:
            self._rows[proposal_id].classes(add="skipped")

    def toggle(self, proposal_id: UUID | None) -> None:
        """Selects or deselects a row."""
        if proposal_id in self._boxes:
            self._boxes[proposal_id].value = not self._boxes[proposal_id].value

    def select_all(self, *, selected: bool = True) -> None:
        """Selects or deselects all rows."""
        for box in self._boxes.values():
            box.value = selected

    def show_counts(self, counts: Counts) -> None:
        """Shows the number of proposals that match the filters."""
        parts = [
            f"too many {kind}s to count" if count is None else f"{count:,} {kind}{'' if count == 1 else 's'}"
            for kind, count in counts.items()
        ]
        known = [count for count in counts.values() if count is not None]
        total = f"{sum(known):,} in total: " if len(counts) > 1 and len(known) == len(counts) else ""
        self.counts.set_text(total + ", ".join(parts))

    def _row(self, item: dict[str, Any]) -> None:
        proposal_id: UUID = item["id"]
        label = item.get("name") or item.get("title") or ""
        with ui.element("li").classes("row-of-queue") as row:
            box = ui.checkbox(on_change=self.on_selection).props("dense")
            named(box, f"Select {label}")
            opener = ui.element("button").props("type=button").classes("row-button")
            with opener.on("click", lambda: self._on_open(proposal_id)):
                Text("span", label, "row-label")
                with ui.element("span").classes("row-facts"):
                    self._facts(item)
        self._rows[proposal_id], self._boxes[proposal_id] = row, box

    def _facts(self, item: dict[str, Any]) -> None:
        Text("span", f"{item['type']} atom" if item["entity_type"] == "atom" else "topic", "chip")
        is_low = item["confidence"] is not None and item["confidence"] < self.review.thresholds.direct
        confidence = percent(item["confidence"])
        Text("span", f"{confidence}, low" if is_low else confidence, "chip attention" if is_low else "chip")
        if item["similar_entity_id"] is not None:
            Text("span", "similar", "chip attention")
