"""What was decided, by whom, the newest first; what was automatic looks different; each can be taken back."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals.history import list_decisions
from knowledge_migration.pages.elements import Text, age, at, trouble
from knowledge_migration.pages.review.labels import ACTION, STATUS
from knowledge_migration.pages.review.review_session import Outcome, ReviewSession

PAGE = 50
WHOSE = {"": "Everybody's", "mine": "Mine", "people": "By people", "automatic": "Automatic"}


class HistoryView:
    """The tab; loaded when it is opened."""

    def __init__(
        self,
        review: ReviewSession,
        undo: Callable[[UUID, int], Awaitable[Outcome]],
        opened: Callable[[UUID], Awaitable[None]],
    ) -> None:
        self.review = review
        self._undo_decision = undo
        self._opened = opened
        self._cursor: str | None = None
        self._whose = ""
        with ui.element("div").classes("history"):
            with ui.element("div").classes("history-tools"):
                choice = ui.select(WHOSE, value="", label="Whose decisions").props("outlined dense options-dense")
                choice.classes("filter").on_value_change(lambda event: self._choose(event.value))
            self._trouble = ui.element("div").props("role=alert")
            self._list = ui.element("ol").classes("decisions").props('aria-label="Decisions, the newest first"')
            self._more = ui.button("Show more", on_click=self._load_more).props("flat no-caps")

    async def load(self) -> None:
        """From the newest on."""
        self._list.clear()
        self._cursor = None
        await self._load_more()

    async def _choose(self, whose: str) -> None:
        self._whose = whose
        await self.load()

    async def _load_more(self) -> None:
        self._trouble.clear()
        mine = self.review.session.user_id if self._whose == "mine" else None
        automatic = {"people": False, "mine": False, "automatic": True}.get(self._whose)
        if self._whose == "mine" and mine is None:
            trouble(self._trouble, "You have not said which user you are: sign in with your number or e-mail address.")
            self._more.set_visibility(False)
            return
        try:
            page = await self.review.service.in_transaction(
                list_decisions, PAGE, self._cursor, by_user=mine, automatic=automatic
            )
        except KnowledgeError as error:
            trouble(self._trouble, str(error))
            return
        self._cursor = page.next_cursor
        self._more.set_visibility(page.next_cursor is not None)
        with self._list:
            for decision in page.items:
                self._row(decision)
            if not page.items and not self._list.default_slot.children:
                Text("li", "Nothing was decided yet.")

    def _row(self, decision: dict[str, Any]) -> None:
        automatic = decision["automatic"]
        with ui.element("li").classes("decision automatic" if automatic else "decision manual"):
            ui.icon("smart_toy" if automatic else "person").props("aria-hidden=true")
            with ui.element("div").classes("decision-words"):
                Text("strong", decision["label"] or "a proposal that is gone")
                words = ACTION.get(decision["action"], decision["action"])
                Text("p", f"{decision['entity_type']} · {words} · {'automatically' if automatic else decision['who']}")
                if decision["reason"]:
                    Text("p", f"“{decision['reason']}”")
                Text("p", f"{age(decision['at'])}, {at(decision['at'])}", "muted")
                now = decision["status_now"]
                if now:
                    Text("p", f"now: {STATUS.get(now, now)}", "muted")
            with ui.element("div").classes("decision-actions"):
                if decision["label"]:
                    ui.button("Open", on_click=lambda: self._opened(decision["proposal_id"])).props(
                        "flat no-caps dense"
                    )
                if decision["can_undo"]:
                    ui.button("Undo", on_click=lambda: self._undo(decision)).props("outline no-caps dense")

    async def _undo(self, decision: dict[str, Any]) -> None:
        outcome = await self._undo_decision(decision["proposal_id"], decision["audit_id"])
        await self.load()
        if not outcome.is_done:
            trouble(self._trouble, outcome.words)
