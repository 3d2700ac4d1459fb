"""One decision about what is selected: first what will happen to each, then what did."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals.preview import Foreseen, preview_approvals
from knowledge_migration.knowledge.values import LONGEST_REASON
from knowledge_migration.pages.elements import Text, button, named, percent, trouble
from knowledge_migration.pages.review.labels import SHOWN, STATUS, who_decided
from knowledge_migration.pages.review.queue_view import QueueView
from knowledge_migration.pages.review.review_session import Action, Outcome, ReviewSession

MOST = 200
Done = Callable[[list[UUID]], Awaitable[None]]


class BulkBar:
    """Stands above the list while something is selected."""

    def __init__(self, review: ReviewSession, queue: QueueView, done: Done) -> None:
        self.review = review
        self.queue = queue
        self._done = done
        self._bar = queue.selection
        self._place = ui.element("div")
        queue.on_selection = self.show

    def show(self) -> None:
        """How many are selected, and what can be done with them."""
        self._bar.clear()
        count = len(self.queue.selected)
        if not count:
            return
        with self._bar:
            Text("span", f"{count} selected")
            button("Approve or reject", SHOWN["b"], on_click=self.preview)
            if count < len(self.review.items):
                everything = f"Select all {len(self.review.items)} in the list"
                ui.button(everything, on_click=self.queue.select_all).props("flat dense no-caps")
            ui.button("Clear", on_click=self.queue.clear_selection).props("flat dense no-caps")

    async def preview(self) -> None:
        """What would happen; nothing happens before it is confirmed."""
        ids = list(self.queue.selected)[:MOST]
        if not ids:
            return
        problem, foreseen = None, []
        try:
            foreseen = await self.review.service.in_transaction(preview_approvals, ids)
        except KnowledgeError as error:
            problem = str(error)
        with self._place, named(ui.dialog(value=True).props("persistent"), "Decide about what is selected") as dialog:
            dialog.on("hide", dialog.delete)
            with ui.card().classes("bulk"):
                Text("h2", f"{len(ids)} selected")
                place = ui.element("div").props("role=alert")
                if problem:
                    trouble(place, problem)
                _Confirmation(self, dialog, foreseen, place)

    async def decide(self, action: Action, ids: list[UUID], notes: str | None) -> list[tuple[UUID, Outcome]]:
        """Each in a transaction of its own; one that fails does not stop the others."""
        outcomes = [(one, await self.review.decide(action, one, notes=notes)) for one in ids]
        for one in (one for one, outcome in outcomes if outcome.how == "decided before"):
            self.review.forget(one)
            self.queue.remove(one)
        await self._done([one for one, outcome in outcomes if outcome.is_done])
        self.show()
        return outcomes


class _Confirmation:
    """The dialog's inside: the forecast, then the two ways, then what became of each."""

    def __init__(self, bar: BulkBar, dialog: ui.dialog, foreseen: list[Foreseen], place: ui.element) -> None:
        self._bar = bar
        self._dialog = dialog
        self._trouble = place
        self._open = [one for one in foreseen if one.effect not in ("is decided", "is gone")]
        Text("p", _summary(foreseen))
        self._list = ui.element("ul").classes("forecast")
        with self._list:
            for one in foreseen:
                _forecast(one)
        Text("p", "As things stand now; if somebody decides meanwhile, that decision stays.", "muted")
        self._reason = ui.input("Reason (needed to reject)").props(f"outlined dense maxlength={LONGEST_REASON}")
        self._reason.classes("wide")
        self._actions = ui.element("div").classes("actions")
        self._offer("Cancel")

    def _offer(self, leave: str) -> None:
        """The two ways for what can still be decided, and the way out."""
        count = len(self._open)
        with self._actions:
            if count:
                button(f"Approve {count}", on_click=lambda: self._send("approve"), color="positive")
                button(f"Reject {count}", on_click=lambda: self._send("reject"), color="negative").props("outline")
            button(leave, on_click=self._dialog.close, color="secondary").props("flat autofocus")

    async def _send(self, action: Action) -> None:
        reason = (self._reason.value or "").strip()
        if action == "reject" and not reason:
            trouble(self._trouble, "Say why, so that others understand it.")
            return
        self._actions.clear()
        outcomes = await self._bar.decide(action, [one.proposal_id for one in self._open], reason or None)
        failed = [(one, outcome) for one, outcome in outcomes if not outcome.is_done]
        if not failed:
            self._dialog.close()
            return
        labels = {one.proposal_id: one.label for one in self._open}
        self._list.clear()
        with self._list:
            for proposal_id, outcome in failed:
                words = who_decided(outcome.decided) if outcome.decided else outcome.words
                Text("li", f"{labels[proposal_id]}: {words}")
        trouble(self._trouble, f"{len(outcomes) - len(failed)} done; {len(failed)} not:")
        again = {proposal_id for proposal_id, outcome in failed if outcome.how == "failed"}
        self._open = [one for one in self._open if one.proposal_id in again]
        self._offer("Close")


def _summary(foreseen: list[Foreseen]) -> str:
    counted = {
        "new": sum(one.effect == "creates" for one in foreseen),
        "stand for what exists or is selected too": sum(one.effect in ("stands for", "joins") for one in foreseen),
        "left alone": sum(one.effect in ("is decided", "is gone") for one in foreseen),
    }
    return "Approved: " + ", ".join(f"{count} {words}" for words, count in counted.items() if count) + "."


def _forecast(one: Foreseen) -> None:
    words = {
        "creates": f"becomes a new {one.entity_type}",
        "stands for": f"stands for the existing {one.entity_type} {one.entity_id}; no new row",
        "joins": "is the same as another one selected; no new row",
        "is decided": f"is {STATUS.get(one.status or '', one.status)} already and is left alone",
        "is gone": "is gone",
    }[one.effect]
    with ui.element("li"):
        Text("strong", one.label or f"{one.proposal_id}")
        Text("span", f" ({percent(one.confidence)}) {words}" if one.confidence is not None else f" {words}")
        if one.similar_entity_id is not None and one.effect == "creates":
            Text("span", f"similar to {one.entity_type} {one.similar_entity_id}", "chip attention")
