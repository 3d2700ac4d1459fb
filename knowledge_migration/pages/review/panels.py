"""What opens above a proposal when a decision needs a word more: a reason, or which row is meant."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from knowledge_migration.knowledge.proposals.close_look import CloseLook
from knowledge_migration.pages.elements import Text, button
from knowledge_migration.pages.review.words import QUICK_REASONS

REASON_DRAFT = "!reason"
LONGEST_REASON = 2_000


class RejectPanel:
    """Asks why; Enter rejects."""

    def __init__(
        self, look: CloseLook, draft: str, send: Callable[[], Awaitable[None]], cancel: Callable[[], None]
    ) -> None:
        with ui.element("section").props('aria-label="Reject"').classes("panel"):
            Text("h2", "Reject: why?")
            self._reason = ui.input("Reason", value=draft).props(
                f"outlined dense dir=auto maxlength={LONGEST_REASON} for=reason"
            )
            self._reason.props["data-draft"] = f"{look.proposal['id']}:{REASON_DRAFT}"
            self._reason.classes("wide").on("keydown.enter", send)
            with ui.element("div").classes("quick"):
                for reason in QUICK_REASONS:
                    ui.button(reason, on_click=lambda reason=reason: self._take(reason)).props("outline dense no-caps")
            with ui.element("div").classes("actions"):
                button("Reject", "Enter", on_click=send, color="negative")
                button("Cancel", "Esc", on_click=cancel, color="secondary").props("flat")
        self._focus()

    @property
    def reason(self) -> str:
        """What was typed."""
        return (self._reason.value or "").strip()

    def _take(self, reason: str) -> None:
        self._reason.value = f"{self.reason}; {reason.lower()}" if self.reason else reason
        self._focus()

    def _focus(self) -> None:
        self._reason.client.run_javascript('pages.focus("reason")')

    def complain(self, words: str) -> None:
        """Says beside the field what is missing."""
        self._reason.props("error").props["error-message"] = words
        self._reason.update()


class MergePanel:
    """Asks which existing row is meant; the similar one is already there. Enter merges."""

    def __init__(self, look: CloseLook, send: Callable[[], Awaitable[None]], cancel: Callable[[], None]) -> None:
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
            self._number.props("outlined dense for=merge-into").on("keydown.enter", send)
            with ui.element("div").classes("actions"):
                button("Merge", "Enter", on_click=send)
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
