"""The tab with all decisions, the newest first; automatic ones look different, and each can be undone."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals.history import list_decisions
from knowledge_migration.knowledge.proposals.review import DECIDABLE
from knowledge_migration.pages.elements import Text, age, at, show_error
from knowledge_migration.pages.review.labels import ACTION, STATUS
from knowledge_migration.pages.review.review_session import Outcome, ReviewSession

PAGE = 50
DECIDERS = {"": "Everybody", "mine": "Me", "people": "People", "automatic": "Automatic"}
AUTOMATIC = {"people": False, "mine": False, "automatic": True}


class HistoryView:
    """The list of decisions; it is loaded when the tab is opened."""

    def __init__(
        self,
        review: ReviewSession,
        undo: Callable[[UUID, int], Awaitable[Outcome]],
        on_open: Callable[[UUID], Awaitable[None]],
    ) -> None:
        self.review = review
        self._undo_decision = undo
        self._on_open = on_open
        self._cursor: str | None = None
        with ui.element("div").classes("history"):
            with ui.element("div").classes("history-tools"):
                self._decider = ui.select(DECIDERS, value="", label="Decided by", on_change=self.load)
                self._decider.props("outlined dense options-dense").classes("filter")
            self._error = ui.element("div").props("role=alert")
            self._list = ui.element("ol").classes("decisions").props('aria-label="Decisions, the newest first"')
            self._more = ui.button("Show more", on_click=self._load_more).props("flat no-caps")

    async def load(self) -> None:
        """Loads the newest decisions."""
        self._list.clear()
        self._cursor = None
        await self._load_more()

    async def _load_more(self) -> None:
        self._error.clear()
        decider = self._decider.value
        user_id = self.review.session.user_id if decider == "mine" else None
        if decider == "mine" and user_id is None:
            show_error(self._error, "You are not identified. Sign in with your user number or e-mail address.")
            self._more.set_visibility(False)
            return
        try:
            page = await self.review.service.in_transaction(
                list_decisions, PAGE, self._cursor, by_user=user_id, automatic=AUTOMATIC.get(decider)
            )
        except KnowledgeError as error:
            show_error(self._error, str(error))
            return
        self._cursor = page.next_cursor
        self._more.set_visibility(page.next_cursor is not None)
        with self._list:
            for decision in page.items:
                self._row(decision)
            if not page.items and not self._list.default_slot.children:
                Text("li", "There are no decisions yet.")

    def _row(self, decision: dict[str, Any]) -> None:
        automatic, label, status = decision["automatic"], decision["label"], decision["status_now"]
        action = ACTION.get(decision["action"], decision["action"])
        about = [decision["entity_type"], action, *([] if automatic else [decision["who"]])]
        with ui.element("li").classes("decision automatic" if automatic else "decision manual"):
            ui.icon("smart_toy" if automatic else "person").props("aria-hidden=true")
            with ui.element("div").classes("decision-text"):
                Text("strong", label or "a deleted proposal")
                with ui.element("p"):
                    Text("span", " · ".join(about))
                    Text("span", f" · {age(decision['at'])}", "muted").props["title"] = at(decision["at"])
                if decision["reason"]:
                    Text("p", f"“{decision['reason']}”")
                if status and STATUS.get(status, status) != action:
                    Text("p", f"current status: {STATUS.get(status, status)}", "muted")
            with ui.element("div").classes("decision-actions"):
                if label:
                    open_it = ui.button("Open", on_click=lambda: self._on_open(decision["proposal_id"]))
                    open_it.props("flat no-caps dense")
                if decision["can_undo"]:
                    ui.button("Undo", on_click=lambda: self._undo(decision)).props("outline no-caps dense")
                elif refusal := _why_not_undone(decision):
                    Text("span", refusal, "muted")

    async def _undo(self, decision: dict[str, Any]) -> None:
        outcome = await self._undo_decision(decision["proposal_id"], decision["audit_id"])
        await self.load()
        if not outcome.is_done:
            show_error(self._error, outcome.message)


def _why_not_undone(decision: Mapping[str, Any]) -> str:
    """Why a decision has no undo, in a few words; an undo itself needs none."""
    if decision["action"] == "undo":
        return ""
    if decision["status_now"] is None:
        return "its proposal is deleted"
    if decision["action"] in ("auto_approve_migration", "dual_write"):
        return "belongs to a user's own row"
    return "undone" if decision["status_now"] in DECIDABLE else "replaced by a later decision"
