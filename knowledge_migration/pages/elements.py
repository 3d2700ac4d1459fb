"""The few elements that NiceGUI does not have: text in any tag, keys, ages."""

from datetime import UTC, datetime
from typing import Any, TypeVar

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from knowledge_migration.knowledge.proposals import explaining

Named = TypeVar("Named", bound=ui.element)

STEPS = ((60, "second", 1), (3_600, "minute", 60), (86_400, "hour", 3_600), (float("inf"), "day", 86_400))


class Text(TextElement):
    """Plain text in a tag of its meaning; never HTML, and each in the direction of its own script."""

    def __init__(self, tag: str, text: str, classes: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.props("dir=auto").classes(classes)


def key(name: str) -> Text:
    """A key of the keyboard."""
    return Text("kbd", name)


def button(words: str, shortcut: str | None = None, **options: Any) -> ui.button:
    """A button that shows its key and says it to screen readers."""
    made = ui.button(**options).props("no-caps").classes("with-key")
    with made:
        Text("span", words)
        if shortcut:
            key(shortcut).props("aria-hidden=true")
            made.props(f'aria-keyshortcuts="{shortcut}"')
    return made


def named(element: Named, words: str) -> Named:
    """An element with a name for screen readers, whatever characters it has."""
    element.props["aria-label"] = words
    return element


def trouble(place: ui.element, words: str) -> ui.element:
    """Says in a place, and in nothing else there, what is wrong; returns the box, for what can be done about it."""
    place.clear()
    with place, ui.element("div").classes("trouble") as box:
        ui.icon("error").props("aria-hidden=true")
        Text("p", words)
    return box


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one unit: "3 minutes ago"."""
    if moment is None:
        return "never"
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{span(((now or datetime.now(UTC)) - moment).total_seconds())} ago"


def span(seconds: float) -> str:
    """A length of time in one unit, rounded down."""
    seconds = max(seconds, 0)
    _, unit, size = next(step for step in STEPS if seconds < step[0])
    count = int(seconds // size)
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def at(moment: datetime | None) -> str:
    """A moment, in UTC, to the second."""
    return "" if moment is None else f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%d %H:%M:%S} UTC"


def percent(share: float | None) -> str:
    """A share from 0 to 1 as a percentage; 0.949 is 94 %, because it is not 95 %."""
    return "not stated" if share is None else explaining.percent(share)
