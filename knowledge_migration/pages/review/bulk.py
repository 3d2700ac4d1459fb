"""One decision about all selected proposals: first a preview of its effects, then the results."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.decisions import Action
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals.review import Foreseen, preview_approvals
from knowledge_migration.knowledge.values import LONGEST_REASON
from knowledge_migration.pages.elements import Text, button, named, percent, show_error
from knowledge_migration.pages.review.forms import REASON_MISSING
from knowledge_migration.pages.review.labels import SHOWN, STATUS, decision_sentence
from knowledge_migration.pages.review.queue_view import QueueView
from knowledge_migration.pages.review.review_session import Outcome, ReviewSession

MAX_SELECTED = 200
UNCHANGED = ("is decided", "is gone")
SUMMARY = {
    "creates": "new",
    "matches": "linked to an existing or another selected row",
    "joins": "linked to an existing or another selected row",
    "is decided": "unchanged",
    "is gone": "unchanged",
}


class BulkBar:
    """The bar above the list while proposals are selected."""

    def __init__(
        self, review: ReviewSession, queue: QueueView, on_decided: Callable[[list[UUID]], Awaitable[None]]
    ) -> None:
        self.review = review
        self.queue = queue
        self._on_decided = on_decided
        self._place = ui.element("div")
        queue.on_selection = self.show

    def show(self) -> None:
        """Shows the number of selected proposals, and the actions."""
        self.queue.selection.clear()
        count, total = len(self.queue.selected), len(self.review.items)
        if not count:
            return
        with self.queue.selection:
            Text("span", f"{count} selected")
            button("Approve or reject", SHOWN["b"], on_click=self.preview)
            if count < total:
                ui.button(f"Select all {total} in the list", on_click=self.queue.select_all).props("flat dense no-caps")
            ui.button("Clear", on_click=lambda: self.queue.select_all(selected=False)).props("flat dense no-caps")

    async def preview(self) -> None:
        """Opens a dialog with the effects of an approval; nothing happens before it is confirmed."""
        ids = self.queue.selected[:MAX_SELECTED]
        if not ids:
            return
        error_message, previews = None, []
        try:
            previews = await self.review.service.in_transaction(preview_approvals, ids)
        except KnowledgeError as error:
            error_message = str(error)
        with (
            self._place,
            named(ui.dialog(value=True).props("no-backdrop-dismiss"), "Decide about the selection") as dialog,
        ):
            dialog.on("hide", dialog.delete)
            with ui.card().classes("bulk"):
                Text("h2", f"{len(ids)} selected")
                place = ui.element("div").props("role=alert")
                if error_message:
                    show_error(place, error_message)
                _Confirmation(self, dialog, previews, place)

    async def decide(self, action: Action, ids: list[UUID], notes: str | None) -> list[tuple[UUID, Outcome]]:
        """Decides each proposal in its own transaction; a failure does not stop the others."""
        outcomes = [(one, await self.review.decide(action, one, notes=notes)) for one in ids]
        for proposal_id, outcome in outcomes:
            if outcome.result == "decided before":
                self.review.remove(proposal_id)
                self.queue.remove(proposal_id)
        await self._on_decided([one for one, outcome in outcomes if outcome.is_done])
        self.show()
        return outcomes


class _Confirmation:
    """The content of the dialog: the preview and the two actions, later the proposals that could not be decided."""

    def __init__(self, bar: BulkBar, dialog: ui.dialog, previews: Sequence[Foreseen], error: ui.element) -> None:
        self._bar = bar
        self._dialog = dialog
        self._error = error
        self._open = [one for one in previews if one.effect not in UNCHANGED]
        Text("p", _summary(previews))
        self._list = ui.element("ul").classes("forecast")
        with self._list:
            for one in previews:
                _preview(one)
        Text("p", "This is the current state. A decision that somebody makes meanwhile is kept.", "muted")
        self._reason = ui.input("Reason (required to reject)").classes("wide")
        self._reason.props(f"outlined dense maxlength={LONGEST_REASON}")
        self._actions = ui.element("div").classes("actions")
        self._offer("Cancel")

    def _offer(self, leave: str) -> None:
        """The actions for the proposals that can still be decided."""
        count = len(self._open)
        with self._actions:
            if count:
                button(f"Approve {count}", on_click=lambda: self._decide("approve"), color="positive")
                button(f"Reject {count}", on_click=lambda: self._decide("reject"), color="negative").props("outline")
            button(leave, on_click=self._dialog.close, color="secondary").props("flat autofocus")

    async def _decide(self, action: Action) -> None:
        reason = (self._reason.value or "").strip()
        if action == "reject" and not reason:
            show_error(self._error, REASON_MISSING)
            return
        self._actions.clear()
        outcomes = await self._bar.decide(action, [one.proposal_id for one in self._open], reason or None)
        failures = {proposal_id: outcome for proposal_id, outcome in outcomes if not outcome.is_done}
        if not failures:
            self._dialog.close()
            return
        self._list.clear()
        with self._list:
            for one in self._open:
                if outcome := failures.get(one.proposal_id):
                    message = decision_sentence(outcome.decided) if outcome.decided else outcome.message
                    Text("li", f"{one.label}: {message}")
        show_error(self._error, f"{len(outcomes) - len(failures)} decided; {len(failures)} not decided:")
        retryable = {proposal_id for proposal_id, outcome in failures.items() if outcome.result == "failed"}
        self._open = [one for one in self._open if one.proposal_id in retryable]
        self._offer("Close")


def _summary(previews: Sequence[Foreseen]) -> str:
    counts = Counter(SUMMARY[one.effect] for one in previews)
    return (
        "Approval: "
        + ", ".join(f"{counts[text]} {text}" for text in dict.fromkeys(SUMMARY.values()) if counts[text])
        + "."
    )


def _preview(one: Foreseen) -> None:
    effect = {
        "creates": f"becomes a new {one.entity_type}",
        "matches": f"is linked to the existing {one.entity_type} {one.entity_id}; no new row",
        "joins": "is the same as another selected proposal; no new row",
        "is decided": f"is already {STATUS.get(one.status or '', one.status)} and stays unchanged",
        "is gone": "was deleted",
    }[one.effect]
    with ui.element("li"):
        Text("strong", one.label or f"{one.proposal_id}")
        Text("span", f" ({percent(one.confidence)}) {effect} " if one.confidence is not None else f" {effect} ")
        if one.similar_entity_id is not None and one.effect == "creates":
            Text("span", f"similar to {one.entity_type} {one.similar_entity_id}", "chip attention")
