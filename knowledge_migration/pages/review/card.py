"""The proposal that lies open: shown, edited, decided about. What was typed stays until the decision stands."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail
from knowledge_migration.pages.elements import Text, button, trouble
from knowledge_migration.pages.review.drafts import REASON_DRAFT, SEND, unsent
from knowledge_migration.pages.review.edit_form import EditForm
from knowledge_migration.pages.review.labels import SHOWN, who_decided
from knowledge_migration.pages.review.panels import MergePanel, RejectPanel
from knowledge_migration.pages.review.proposal_view import proposal_view
from knowledge_migration.pages.review.review_session import Action, Outcome, ReviewSession, waits

Mode = Literal["read", "edit", "reject", "merge"]
Left = Callable[[UUID, Outcome], Awaitable[None]]


class Card:
    """One proposal at a time; tells `left` which one was decided or skipped, and how."""

    def __init__(self, review: ReviewSession, left: Left) -> None:
        self.review = review
        self._left = left
        self.mode: Mode = "read"
        self._drafts: dict[str, str] = {}
        self._drawn: ProposalDetail | None = None
        self._form: EditForm | None = None
        self._panel: RejectPanel | MergePanel | None = None
        self._trouble = ui.element("div").props("role=alert").classes("trouble-place")
        self._box = ui.element("article").props('aria-labelledby="proposal-heading"').classes("card-box")

    def draw(self, mode: Mode = "read") -> None:
        """The open proposal anew, or that nothing waits; what was typed about the one before is kept."""
        self._keep_typed()
        self.mode = mode
        self._form = self._panel = None
        self._box.clear()
        look = self._drawn = self.review.current
        self._box.props["data-proposal"] = str(self.review.current_id) if look else ""
        with self._box:
            if look is None:
                self._nothing()
                return
            if mode == "reject":
                self._panel = RejectPanel(look, self._drafts_of(look).get(REASON_DRAFT, ""), self.cancel)
            elif mode == "merge":
                self._panel = MergePanel(look, self.cancel)
            elif mode == "edit":
                self._form = EditForm(look, self._drafts_of(look))
                self._edit_actions()
            with ui.element("div").classes("proposal"):
                proposal_view(look, self.review.thresholds)
            if mode == "read":
                self._actions(look)

    async def press(self, code: str, shown: str | None, typed: Mapping[str, int]) -> bool:
        """Does what a key means; False for keys that are not the card's, or meant another proposal."""
        if code == "escape" and self.mode != "read":
            self.cancel()
        elif code in ("ctrl+enter", "enter") and self.mode != "read":
            await self._send(typed)
        elif self.mode == "read" and shown and shown == str(self.review.current_id):
            return await self._act(code, self.review.current_id)
        else:
            return False
        return True

    async def _act(self, code: str, proposal_id: UUID | None) -> bool:
        look = self.review.current
        if look is None or proposal_id is None or proposal_id != self.review.current_id:
            return False
        can_decide = waits(look)
        if code == "a" and can_decide:
            await self._decide("approve", proposal_id)
        elif code in ("e", "r", "m") and can_decide:
            modes: dict[str, Mode] = {"e": "edit", "r": "reject", "m": "merge"}
            self.draw(modes[code])
        elif code == "s":
            await self._left(proposal_id, self.review.skip(proposal_id))
        else:
            return False
        return True

    async def _send(self, typed: Mapping[str, int]) -> None:
        """What the open panel or form is for, about the proposal beside which it stands."""
        look = self._drawn
        if look is None:
            return
        if self._form:
            await self._send_edit(look.proposal["id"], self._form, typed)
        elif isinstance(self._panel, RejectPanel):
            await self._send_rejection(look.proposal["id"], self._panel, typed)
        elif isinstance(self._panel, MergePanel):
            if self._panel.into is None:
                self._panel.complain(f"Give the number of an existing {look.kind.name}.")
                return
            await self._decide("merge", look.proposal["id"], into=self._panel.into)

    async def _send_edit(self, proposal_id: UUID, form: EditForm, typed: Mapping[str, int]) -> None:
        problem = form.unsent(typed)
        if problem:
            self.trouble(problem)
            return
        try:
            changes = form.changes()
        except ValueError as error:
            self.trouble(f"The meta is no JSON: {str(error)[:200]}. What you typed is still here.")
            return
        await self._decide("approve", proposal_id, changes=changes)

    async def _send_rejection(self, proposal_id: UUID, panel: RejectPanel, typed: Mapping[str, int]) -> None:
        problem = unsent({REASON_DRAFT: panel.typed}, typed)
        if problem:
            self.trouble(problem)
        elif not panel.reason:
            panel.complain("Say why, so that others understand it.")
        else:
            await self._decide("reject", proposal_id, notes=panel.reason)

    def cancel(self) -> None:
        """Back to reading; what was typed is kept for the next time."""
        self.clear_trouble()
        self.draw()

    def bring_back(self, drafts: dict[str, str]) -> None:
        """What was typed before the page was loaded again; what concerns the open proposal is opened again."""
        self._drafts |= drafts
        if self.mode == "read" and self.review.current and waits(self.review.current):
            mine = self._drafts_of(self.review.current)
            if mine:
                self.draw("reject" if REASON_DRAFT in mine else "edit")

    def trouble(
        self, words: str, again: Callable[[], Awaitable[None]] | None = None, *, send_again: bool = False
    ) -> None:
        """Says what is wrong, above the proposal, until the next action."""
        with trouble(self._trouble, words):
            if again:
                ui.button("Try again", on_click=again).props("outline no-caps dense")
            elif send_again:
                ui.button("Try again").on("click", js_handler=SEND).props("outline no-caps dense")
        self._box.client.run_javascript(f'pages.reveal("c{self._trouble.id}")')

    def clear_trouble(self) -> None:
        """Nothing is wrong."""
        self._trouble.clear()

    async def _decide(self, action: Action, proposal_id: UUID, **options: Any) -> None:
        pressed_on = (self._drawn, self._form, self._panel)
        async with self.review.turn:
            now = (self._drawn, self._form, self._panel)
            if any(one is not other for one, other in zip(pressed_on, now, strict=True)):
                return  # what it was meant for has gone meanwhile
            outcome = await self.review.decide(action, proposal_id, **options)
            await self._follow(action, proposal_id, outcome)

    async def _follow(self, action: Action, proposal_id: UUID, outcome: Outcome) -> None:
        if outcome.is_done:
            self.clear_trouble()
            if self._drawn and self._drawn.proposal["id"] == proposal_id:
                self._form = self._panel = None
            self._forget_drafts(proposal_id)
            self.review.remember(proposal_id)
            await self._left(proposal_id, outcome)
        elif outcome.how == "decided before" and outcome.decided:
            self.trouble(f"Somebody was faster. {who_decided(outcome.decided)} Nothing of yours was changed.")
            self.review.forget(proposal_id)
            await self.review.look_again()
            self.draw(self.mode)
        else:
            self.trouble(outcome.words, send_again=self.mode != "read")

    def _actions(self, look: ProposalDetail) -> None:
        proposal_id = look.proposal["id"]

        def press(code: str) -> Callable[[], Awaitable[Any]]:
            return lambda: self._act(code, proposal_id)

        with ui.element("div").classes("actions action-bar").props('role=toolbar aria-label="Decide" id=decide'):
            if waits(look):
                decides = (
                    button("Approve", SHOWN["a"], on_click=press("a"), color="positive"),
                    button("Edit", SHOWN["e"], on_click=press("e")).props("outline"),
                    button("Reject", SHOWN["r"], on_click=press("r"), color="negative").props("outline"),
                    button("Merge", SHOWN["m"], on_click=press("m")).props("outline"),
                )
                for made in decides:
                    made.classes("decides")
            button(
                "Skip" if look.decided is None else "Next", SHOWN["s"], on_click=press("s"), color="secondary"
            ).props("outline")

    def _edit_actions(self) -> None:
        with ui.element("div").classes("actions"):
            button("Approve with changes", "Ctrl+Enter", color="positive").on("click", js_handler=SEND)
            button("Cancel", "Esc", on_click=self.cancel, color="secondary").props("flat")

    def _nothing(self) -> None:
        with ui.element("div").classes("empty"):
            ui.icon("task_alt", size="3rem").props("aria-hidden=true")
            if self.review.items:
                Text("h2", "Everything here was skipped").props("id=proposal-heading")
                Text("p", "What you skipped is still in the list. Open one, or load the page again to begin anew.")
            elif self.review.filters.are_set:
                Text("h2", "Nothing matches these filters").props("id=proposal-heading")
                ui.link("Show everything that waits", "/review")
            else:
                Text("h2", "Nothing waits for review").props("id=proposal-heading")
                Text("p", "New proposals appear here by themselves as messages are extracted in proposal mode.")

    def _keep_typed(self) -> None:
        if self._form:
            typed = {name: value or "" for name, value in self._form.typed().items()}
            self._drafts |= {f"{self._form.proposal_id}:{name}": value for name, value in typed.items()}
        elif isinstance(self._panel, RejectPanel):
            self._drafts[f"{self._panel.proposal_id}:{REASON_DRAFT}"] = self._panel.reason

    def _drafts_of(self, look: ProposalDetail) -> dict[str, str]:
        start = f"{look.proposal['id']}:"
        return {key.removeprefix(start): value for key, value in self._drafts.items() if key.startswith(start)}

    def _forget_drafts(self, proposal_id: UUID) -> None:
        self._drafts = {key: value for key, value in self._drafts.items() if not key.startswith(f"{proposal_id}:")}
        self._box.client.run_javascript(f'pages.forget("{proposal_id}")')
