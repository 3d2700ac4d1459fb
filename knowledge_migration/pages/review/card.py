"""The open proposal: display, forms and decisions. Typed text is kept until the decision is committed."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.decisions import Action
from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail
from knowledge_migration.pages.elements import Text, button, show_error
from knowledge_migration.pages.review.forms import REASON_DRAFT, SUBMIT, EditForm, Form, MergeForm, RejectForm
from knowledge_migration.pages.review.labels import SHOWN, decision_sentence
from knowledge_migration.pages.review.proposal_view import proposal_view
from knowledge_migration.pages.review.review_session import Outcome, ReviewSession, is_decidable

FORMS: Mapping[str, type[Form]] = {"e": EditForm, "r": RejectForm, "m": MergeForm}
BUTTONS = (
    ("a", "Approve", "positive"),
    ("e", "Edit", "primary"),
    ("r", "Reject", "negative"),
    ("m", "Merge", "primary"),
)


class Card:
    """One proposal at a time; calls `on_left` with the proposal that was decided or skipped."""

    def __init__(self, review: ReviewSession, on_left: Callable[[UUID, Outcome], Awaitable[None]]) -> None:
        self.review = review
        self._on_left = on_left
        self._drafts: dict[str, str] = {}
        self._detail: ProposalDetail | None = None
        self._form: Form | None = None
        self._error = ui.element("div").props("role=alert")
        self._box = ui.element("article").props('aria-labelledby="proposal-heading"').classes("card-box")

    @property
    def is_reading(self) -> bool:
        """Whether no form is open."""
        return self._form is None

    def draw(self, form: type[Form] | None = None) -> None:
        """Draws the open proposal, or that the queue is empty; drafts of the previous proposal are kept."""
        self._keep_typed()
        self._form = None
        self._box.clear()
        detail = self._detail = self.review.current
        self._box.props["data-proposal"] = str(self.review.current_id) if detail else ""
        with self._box:
            if detail is None:
                self._empty()
                return
            if form:
                self._form = form(detail, self._drafts_of(detail), self.cancel, self.review.find_entities)
            with ui.element("div").classes("proposal"):
                proposal_view(detail, self.review.thresholds)
            if form is None:
                self._actions(detail)

    def redraw(self) -> None:
        """Draws the open proposal again, with the open form."""
        self.draw(type(self._form) if self._form else None)

    async def press(self, code: str, shown: str | None, typed: Mapping[str, int]) -> bool:
        """Handles a key; False if the key is not for the card, or was pressed for another proposal."""
        if self._form and code == "escape":
            self.cancel()
        elif self._form and code in ("ctrl+enter", "enter"):
            await self._submit(self._form, typed)
        elif self.is_reading and shown and shown == str(self.review.current_id):
            return await self._act(code, self.review.current_id)
        else:
            return False
        return True

    async def _act(self, code: str, proposal_id: UUID | None) -> bool:
        detail = self.review.current
        if detail is None or proposal_id is None or proposal_id != self.review.current_id:
            return False
        if code == "s":
            await self._on_left(proposal_id, self.review.skip(proposal_id))
        elif code == "a" and is_decidable(detail):
            await self._decide("approve", proposal_id)
        elif code in FORMS and is_decidable(detail):
            self.draw(FORMS[code])
        else:
            return False
        return True

    async def _submit(self, form: Form, typed: Mapping[str, int]) -> None:
        try:
            options = form.options(typed)
        except ValueError as error:
            self.show_error(str(error))
            return
        if options is not None:
            await self._decide(form.action, form.proposal_id, **options)

    def cancel(self) -> None:
        """Closes the form; its drafts are kept."""
        self.clear_error()
        self.draw()

    def restore_drafts(self, drafts: dict[str, str]) -> None:
        """Takes over the drafts of before a reload; opens the form of the open proposal if it has one."""
        self._drafts |= drafts
        if self.is_reading and self.review.current and is_decidable(self.review.current):
            names = self._drafts_of(self.review.current)
            if names:
                self.draw(RejectForm if REASON_DRAFT in names else EditForm)

    def show_error(
        self, message: str, retry: Callable[[], Awaitable[None]] | None = None, *, can_resubmit: bool = False
    ) -> None:
        """Shows a message above the proposal until the next action."""
        with show_error(self._error, message):
            if retry:
                ui.button("Try again", on_click=retry).props("outline no-caps dense")
            elif can_resubmit:
                ui.button("Try again").on("click", js_handler=SUBMIT).props("outline no-caps dense")
        self._run(f'pages.reveal("c{self._error.id}")')

    def clear_error(self) -> None:
        """Removes the message."""
        self._error.clear()

    async def _decide(self, action: Action, proposal_id: UUID, **options: Any) -> None:
        detail, form = self._detail, self._form
        async with self.review.decision_lock:
            if self._detail is not detail or self._form is not form:
                return  # the proposal or form that the key was pressed for has gone
            outcome = await self.review.decide(action, proposal_id, **options)
            await self._follow(proposal_id, outcome)

    async def _follow(self, proposal_id: UUID, outcome: Outcome) -> None:
        if outcome.is_done:
            self.clear_error()
            if self._detail and self._detail.proposal["id"] == proposal_id:
                self._form = None
            self._drafts = {name: text for name, text in self._drafts.items() if not name.startswith(f"{proposal_id}:")}
            self._run(f'pages.deleteDrafts("{proposal_id}")')
            self.review.remember(proposal_id)
            await self._on_left(proposal_id, outcome)
        elif outcome.result == "decided before" and outcome.decided:
            sentence = decision_sentence(outcome.decided)
            self.show_error(f"Another reviewer decided first. {sentence} Your decision was not applied.")
            self.review.remove(proposal_id)
            await self.review.refresh()
            self.redraw()
        else:
            self.show_error(outcome.message, can_resubmit=not self.is_reading)

    def _actions(self, detail: ProposalDetail) -> None:
        proposal_id = detail.proposal["id"]

        def press(code: str) -> Callable[[], Awaitable[Any]]:
            return lambda: self._act(code, proposal_id)

        with ui.element("div").classes("actions action-bar").props('role=toolbar aria-label="Decide" id=decide'):
            for code, label, color in BUTTONS if is_decidable(detail) else ():
                element = button(label, SHOWN[code], on_click=press(code), color=color).classes("decides")
                element.props("" if code == "a" else "outline")
            skip = "Skip" if detail.decided is None else "Next"
            button(skip, SHOWN["s"], on_click=press("s"), color="secondary").props("outline")

    def _empty(self) -> None:
        with ui.element("div").classes("empty"):
            ui.icon("task_alt", size="3rem").props("aria-hidden=true")
            heading = Text("h2", "No proposal is waiting for review").props("id=proposal-heading")
            if self.review.items:
                heading.set_text("You have skipped all proposals")
                Text("p", "Skipped proposals are still in the list. Open one, or reload the page to start again.")
            elif self.review.filters.are_set:
                heading.set_text("No proposal matches these filters")
                ui.link("Show all proposals that are waiting", "/review")
            else:
                Text("p", "New proposals appear here automatically when messages are extracted in proposal mode.")

    def _keep_typed(self) -> None:
        if self._form:
            self._drafts |= {f"{self._form.proposal_id}:{name}": text for name, text in self._form.drafts().items()}

    def _drafts_of(self, detail: ProposalDetail) -> dict[str, str]:
        prefix = f"{detail.proposal['id']}:"
        return {name.removeprefix(prefix): text for name, text in self._drafts.items() if name.startswith(prefix)}

    def _run(self, script: str) -> None:
        self._box.client.run_javascript(script)
