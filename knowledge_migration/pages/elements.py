"""Elements that NiceGUI does not have: text in any tag, keys, named buttons, error boxes, ages."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from nicegui import Client, ui
from nicegui.elements.mixins.text_element import TextElement

from knowledge_migration.knowledge.proposals import explaining

log = logging.getLogger(__name__)

AnyElement = TypeVar("AnyElement", bound=ui.element)

STEPS = ((60, "second", 1), (3_600, "minute", 60), (86_400, "hour", 3_600), (float("inf"), "day", 86_400))


class Text(TextElement):
    """Plain text in any tag; never HTML, and in the direction of its own script."""

    def __init__(self, tag: str, text: str, classes: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.props("dir=auto").classes(classes)


def button(label: str, shortcut: str | None = None, **options: Any) -> ui.button:
    """A button that shows its shortcut and announces it to screen readers."""
    element = ui.button(**options).props("no-caps").classes("with-key")
    with element:
        Text("span", label)
        if shortcut:
            Text("kbd", shortcut).props("aria-hidden=true")
            element.props(f'aria-keyshortcuts="{shortcut}"')
    return element


def icon_button(icon: str, label: str, act: Callable[[], object]) -> ui.button:
    """A round button of the header, with its label as tooltip and accessible name."""
    element = named(ui.button(icon=icon, on_click=act, color=None).props("flat round dense"), label)
    with element:
        ui.tooltip(label)
    return element


@contextmanager
def section(name: str, title: str, classes: str = "box") -> Iterator[ui.element]:
    """A section with a heading of its own; `name` is its id."""
    with ui.element("section").props(f'id={name} aria-labelledby="{name}-heading"').classes(classes) as element:
        Text("h3", title).props(f"id={name}-heading")
        yield element


def named(element: AnyElement, name: str) -> AnyElement:
    """Gives an element an accessible name of any characters."""
    element.props["aria-label"] = name
    return element


async def until_deleted(client: Client, work: Awaitable[object]) -> None:
    """Does work for a page; a page that is closed meanwhile ends it, which is no error."""
    try:
        await work
    except RuntimeError:
        if not client.is_deleted:
            raise
        log.debug("A page was closed before its work was done")


def show_error(place: ui.element, message: str) -> ui.element:
    """Replaces the content of a place by an error message; returns its box, for a button."""
    place.clear()
    with place, ui.element("div").classes("error-box") as box:
        ui.icon("error").props("aria-hidden=true")
        Text("p", message)
    return box


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """The time since a moment in one unit: "3 minutes ago"."""
    if moment is None:
        return "never"
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{span(((now or datetime.now(UTC)) - moment).total_seconds())} ago"


def span(seconds: float) -> str:
    """A duration in one unit, rounded down."""
    seconds = max(seconds, 0)
    _, unit, size = next(step for step in STEPS if seconds < step[0])
    count = int(seconds // size)
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def at(moment: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if moment is None else f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%d %H:%M:%S} UTC"


def percent(share: float | None) -> str:
    """A share from 0 to 1 as a percentage, rounded down: 0.949 is 94 %, because it is below 95 %."""
    return "not stated" if share is None else explaining.percent(share)
