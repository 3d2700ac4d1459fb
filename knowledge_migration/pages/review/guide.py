"""What helps a newcomer: the tour of the page, and the explanation of keys and confidence (strategy §10.3)."""

from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui

from knowledge_migration.knowledge.proposals.proposal_detail import Thresholds
from knowledge_migration.pages.elements import Text, button, key, named
from knowledge_migration.pages.review.labels import KEYS, about_confidence


@dataclass(frozen=True)
class Step:
    """One stop: what is shown, by its id, and what is said about it."""

    target: str
    title: str
    words: str


STEPS = (
    Step(
        "queue",
        "What waits",
        "Proposals of the extractor, the surest first. Search and filter them, or select several.",
    ),
    Step(
        "proposal-heading",
        "One proposal",
        "What would become knowledge once you approve it. Nothing of it is knowledge before.",
    ),
    Step(
        "confidence",
        "How sure the model is",
        "Its own word, no proof. The question mark above says what to make of it.",
    ),
    Step("messages", "Where it comes from", "Read the messages: they decide whether the proposal is right."),
    Step(
        "decide",
        "Decide",
        "Approve, edit, reject with a reason, merge into what exists, or skip. Every key stands on its button, and U "
        "takes the last action back.",
    ),
)


class Tour:
    """Walks through the page once, and again whenever somebody asks."""

    def __init__(self, seen: Callable[[], None]) -> None:
        self._seen = seen
        self._place = ui.element("div")

    @property
    def is_open(self) -> bool:
        """Whether it stands on the page."""
        return bool(self._place.default_slot.children)

    def begin(self) -> None:
        """From the first stop."""
        self._show(0)

    def end(self) -> None:
        """Closed, and not shown again by itself."""
        self._place.clear()
        self._place.client.run_javascript('pages.spot("")')
        self._seen()

    def _show(self, number: int) -> None:
        self._place.clear()
        step = STEPS[number]
        is_last = number + 1 == len(STEPS)
        with self._place, ui.element("div").classes("tour").props("role=dialog aria-labelledby=tour-title id=tour"):
            Text("p", f"{number + 1} of {len(STEPS)}", "muted")
            Text("h2", step.title).props("id=tour-title")
            Text("p", step.words)
            with ui.element("div").classes("actions"):
                forward = button(
                    "Done" if is_last else "Next", on_click=self.end if is_last else lambda: self._show(number + 1)
                )
                forward.props("id=tour-next")
                if number:
                    button("Back", on_click=lambda: self._show(number - 1)).props("outline")
                if not is_last:
                    button("End the tour", on_click=self.end, color="secondary").props("flat")
        self._place.client.run_javascript(f'pages.spot("{step.target}"); pages.focus("tour-next")')


def explain(thresholds: Thresholds, keys_act: bool, use_keys: Callable[[bool], None]) -> None:
    """Keys and confidence, in a dialog."""
    with named(ui.dialog(value=True), "Keys and confidence") as dialog, ui.card().classes("help"):
        Text("h2", "What confidence means")
        for words in about_confidence(thresholds):
            Text("p", words)
        Text("h2", "Keys")
        with ui.element("dl").classes("keys"):
            for one in KEYS:
                with ui.element("dt"):
                    key(one.shown)
                Text("dd", one.does)
        ui.switch("Single keys act", value=keys_act, on_change=lambda event: use_keys(event.value))
        button("Close", "Esc", on_click=dialog.close)
    dialog.on("hide", dialog.delete)
