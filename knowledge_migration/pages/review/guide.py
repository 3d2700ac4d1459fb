"""Help for new reviewers: the tour of the page, and the explanation of keys and confidence (strategy §10.3)."""

from collections.abc import Callable
from typing import NamedTuple

from nicegui import ui

from knowledge_migration.knowledge.proposals.proposal_detail import Thresholds
from knowledge_migration.pages.elements import Text, button, named
from knowledge_migration.pages.review.labels import KEYS, about_confidence


class Step(NamedTuple):
    """One step of the tour: the id of an element, and a text about it."""

    target: str
    title: str
    text: str


STEPS = (
    Step("queue", "Queue", "Proposals of the extractor, highest confidence first. Search, filter or select several."),
    Step("proposal-heading", "Proposal", "After your approval, this proposal becomes knowledge."),
    Step("confidence", "Confidence", "The model's own estimate, not evidence. Press ? for an explanation."),
    Step("messages", "Source", "Read the messages: they show whether the proposal is correct."),
    Step(
        "decide",
        "Decide",
        "Approve, edit, reject with a reason, merge into an existing row, or skip. Each button shows its key, and U undoes "
        "the last action: the proposal waits for review again.",
    ),
)


class Tour:
    """Explains the page on the first visit, and on request."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._place = ui.element("div")

    @property
    def is_open(self) -> bool:
        """Whether the tour is displayed."""
        return bool(self._place.default_slot.children)

    def begin(self) -> None:
        """Shows the first step."""
        self._show(0)

    def end(self) -> None:
        """Closes the tour."""
        self._place.clear()
        self._place.client.run_javascript('pages.highlight("")')
        self._on_end()

    def _show(self, number: int) -> None:
        self._place.clear()
        step = STEPS[number]
        is_last = number + 1 == len(STEPS)
        with self._place, ui.element("div").classes("tour").props("role=dialog aria-labelledby=tour-title id=tour"):
            Text("p", f"{number + 1} of {len(STEPS)}", "muted")
            Text("h2", step.title).props("id=tour-title")
            Text("p", step.text)
            with ui.element("div").classes("actions"):
                following = self.end if is_last else lambda: self._show(number + 1)
                button("Done" if is_last else "Next", on_click=following).props("id=tour-next")
                if number:
                    button("Back", on_click=lambda: self._show(number - 1)).props("outline")
                if not is_last:
                    button("End the tour", on_click=self.end, color="secondary").props("flat")
        self._place.client.run_javascript(f'pages.highlight("{step.target}"); pages.focus("tour-next")')


def explain(thresholds: Thresholds, keys_enabled: bool, on_switch: Callable[[bool], None]) -> None:
    """Explains keys and confidence in a dialog."""
    with named(ui.dialog(value=True), "Keys and confidence") as dialog, ui.card().classes("help"):
        Text("h2", "Confidence")
        for paragraph in about_confidence(thresholds):
            Text("p", paragraph)
        Text("h2", "Keys")
        with ui.element("dl").classes("keys"):
            for key in KEYS:
                with ui.element("dt"):
                    Text("kbd", key.shown)
                Text("dd", key.action)
        ui.switch("Enable single-key shortcuts", value=keys_enabled, on_change=lambda event: on_switch(event.value))
        button("Close", "Esc", on_click=dialog.close)
    dialog.on("hide", dialog.delete)
