"""What opens above a proposal when a decision needs a word more: a reason, or which row is meant."""

from collections.abc import Callable

from nicegui import ui

from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail
from knowledge_migration.knowledge.values import LONGEST_REASON
from knowledge_migration.pages.elements import Text, button
from knowledge_migration.pages.review.drafts import REASON_DRAFT, SEND, keep_draft
from knowledge_migration.pages.review.labels import QUICK_REASONS


class RejectPanel:
    """Asks why; Enter rejects."""

    def __init__(self, look: ProposalDetail, draft: str, cancel: Callable[[], None]) -> None:
        self.proposal_id = look.proposal["id"]
        with ui.element("section").props('aria-label="Reject"').classes("panel"):
            Text("h2", "Reject: why?")
            self._reason = ui.input("Reason", value=draft).props(
                f"outlined dense dir=auto maxlength={LONGEST_REASON} for=reason"
            )
            self._draft = f"{self.proposal_id}:{REASON_DRAFT}"
            self._reason.props["data-draft"] = self._draft
            self._reason.classes("wide")
            with ui.element("div").classes("quick"):
                for reason in QUICK_REASONS:
                    ui.button(reason, on_click=lambda reason=reason: self._take(reason)).props("outline dense no-caps")
            with ui.element("div").classes("actions"):
                button("Reject", "Enter", color="negative").on("click", js_handler=SEND)
                button("Cancel", "Esc", on_click=cancel, color="secondary").props("flat")
        self._focus()

    @property
    def typed(self) -> str:
        """What stands in the field."""
        return self._reason.value or ""

    @property
    def reason(self) -> str:
        """What is kept of it."""
        return self.typed.strip()

    def _take(self, reason: str) -> None:
        self._reason.value = f"{self.reason}; {reason.lower()}" if self.reason else reason
        keep_draft(self._reason, self._draft, self._reason.value)
        self._focus()

    def _focus(self) -> None:
        self._reason.client.run_javascript('pages.focus("reason")')

    def complain(self, words: str) -> None:
        """Says beside the field what is missing."""
        self._reason.props("error").props["error-message"] = words
        self._reason.update()


class MergePanel:
    """Asks which existing row is meant; the similar one is already there. Enter merges."""

    def __init__(self, look: ProposalDetail, cancel: Callable[[], None]) -> None:
        name = look.kind.name
        similar = look.similar
        with ui.element("section").props('aria-label="Merge"').classes("panel"):
            Text("h2", f"Merge into which {name}?")
            Text(
                "p",
                f"The existing {name} keeps its values; it takes over the proposal's messages and relations.",
                "muted",
            )
            if similar:
                Text("p", f"{similar.id}: {similar.values[look.kind.label]}", "value")
            self._number = ui.number(f"Number of the {name}", value=similar.id if similar else None, min=1, precision=0)
            self._number.props("outlined dense for=merge-into")
            with ui.element("div").classes("actions"):
                button("Merge", "Enter").on("click", js_handler=SEND)
                button("Cancel", "Esc", on_click=cancel, color="secondary").props("flat")
        self._number.client.run_javascript('pages.focus("merge-into")')

    @property
    def into(self) -> int | None:
        """The number, if one was given."""
        value = self._number.value
        return int(value) if value and 0 < value < 2**63 else None

    def complain(self, words: str) -> None:
        """Says beside the field what is missing."""
        self._number.props("error").props["error-message"] = words
        self._number.update()
