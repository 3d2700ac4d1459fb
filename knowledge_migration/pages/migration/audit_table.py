"""The audit trail, live: newest first, older entries by key; the values before and after open on demand and stay open."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from knowledge_migration.engine.status.audit_trail import AuditTrail, Entry, Page
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.widgets import Ago, table_box

COLUMNS = ("When", "Who", "Action", "Subject", "Reason", "Before and after")
LONGEST_JSON = 20_000
MOST_ROWS = 1_000

Older = Callable[[int, bool], Awaitable[Page]]


class AuditTable:
    """A table that grows at both ends; shown rows stay untouched. When many entries arrive at once, it offers to reload."""

    def __init__(self, older: Older, dagster_ui: Callable[[], str | None]) -> None:
        self._older = older
        self._dagster_ui = dagster_ui
        self._trail: AuditTrail | None = None
        self._rows: dict[int, ui.element] = {}
        self._key: int | None = None
        self._switch = ui.checkbox("Include changes of single rows and proposals", on_change=self._restart).props(
            "id=audit-decisions"
        )
        self._empty = Text("p", "", "muted")
        self._newer = ui.button("Many new entries: show the newest", on_click=self._restart)
        self._newer.props("no-caps outline id=audit-newer").set_visibility(False)
        self._box = table_box("Audit trail", COLUMNS, "facts broad trail", tall=True).props("id=audit-table")
        self._more = ui.button("Show more", on_click=self._show_more).props("no-caps outline id=audit-more")
        self._problem = Text("p", "", "problem").props("role=alert")
        self._problem.set_visibility(False)

    def show(self, trail: AuditTrail | None, problem: str | None) -> None:
        """The newest reading; `problem` is the reason why the log cannot be read."""
        if trail is None:
            message = f"The audit log cannot be read: {problem}" if problem else "There is no audit log yet."
            self._empty.set_text(message)
            for element in (self._more, self._switch, self._box):
                element.set_visibility(False)
            return
        if trail == self._trail:
            return
        self._trail = trail
        entries = self._page.entries
        new = [entry for entry in entries if entry.id not in self._rows]
        if len(new) < len(entries) or not self._rows:
            self._insert(new)
        else:
            self._newer.set_visibility(bool(new))

    @property
    def _page(self) -> Page:
        assert self._trail is not None
        return self._trail.everything if self._switch.value else self._trail.steps

    def _restart(self) -> None:
        """Draws the newest page again."""
        self._newer.set_visibility(False)
        if self._trail is None:
            return
        self._box.body.clear()
        self._rows.clear()
        self._append(self._page)

    def _append(self, page: Page) -> None:
        with self._box.body:
            for entry in page.entries:
                if entry.id not in self._rows:
                    self._rows[entry.id] = self._draw(entry)
        self._show_end(page.older)

    def _show_end(self, key: int | None) -> None:
        self._key = key
        self._switch.set_visibility(True)
        self._box.set_visibility(bool(self._rows))
        self._more.set_visibility(key is not None)
        self._empty.set_text("" if self._rows else "No entries yet.")

    def _insert(self, entries: list[Entry]) -> None:
        """Each at its place: an entry of a long transaction appears after younger ones."""
        if not self._rows:
            self._append(self._page)
            return
        with self._box.body:
            for entry in entries:
                place = sum(shown > entry.id for shown in self._rows)
                self._rows[entry.id] = row = self._draw(entry)
                row.move(target_index=place)
        self._trim()

    def _trim(self) -> None:
        """A page that stays open for days must not grow without bound."""
        ids = sorted(self._rows, reverse=True)
        for entry_id in ids[MOST_ROWS:]:
            self._rows.pop(entry_id).delete()
        if len(ids) > MOST_ROWS:
            self._show_end(ids[MOST_ROWS - 1])

    def _draw(self, entry: Entry) -> ui.element:
        with ui.element("tr").props(f"data-entry={entry.id}") as row:
            with ui.element("td"):
                Ago(entry.at)
            Text("td", entry.who or entry.actor).props["title"] = entry.actor
            for text in (entry.action, entry.subject, entry.reason or ""):
                Text("td", text)
            with ui.element("td").classes("entry-details"):
                if (entry.before, entry.after, entry.dagster_run_id) != (None, None, None):
                    _expansion(entry)
                if entry.dagster_run_id and (dagster := self._dagster_ui()):
                    ui.link("Run in Dagster", f"{dagster.rstrip('/')}/runs/{entry.dagster_run_id}", new_tab=True)
        return row

    async def _show_more(self) -> None:
        if self._key is None:
            return
        self._more.disable()
        try:
            self._append(await self._older(self._key, bool(self._switch.value)))
            self._problem.set_visibility(False)
        except KnowledgeError as error:
            self._problem.set_text(str(error))
            self._problem.set_visibility(True)
        finally:
            self._more.enable()


def _expansion(entry: Entry) -> None:
    """Filled when it is opened for the first time: fifty filled ones are much to send, and few are read."""
    details = ui.element("details")
    with details:
        Text("summary", "Show").props["aria-label"] = f"Before and after of: {entry.action}, {entry.subject}"
        box = ui.element("div")

    def fill() -> None:
        if box.default_slot.children:
            return
        with box:
            for name, value in (("Before", entry.before), ("After", entry.after)):
                if value is not None:
                    Text("p", name, "muted")
                    Text("pre", _json(value), "value").props(f"tabindex=0 role=group aria-label={name}")
            if entry.dagster_run_id:
                Text("p", f"Dagster run {entry.dagster_run_id}", "muted")

    details.on("toggle", fill, [])


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    left = len(text) - LONGEST_JSON
    return text if left <= 0 else f"{text[:LONGEST_JSON]}\n… {left:,} more characters"
