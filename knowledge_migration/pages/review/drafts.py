"""What is typed: the browser keeps it until it is decided about, and whether all of it has reached the service."""

import json
from collections.abc import Mapping

from nicegui import ui

from knowledge_migration.knowledge.values import LONGEST_TEXT

REASON_DRAFT = "!reason"
SEND = "() => pages.send()"
"""Buttons that send what was typed ask the browser how long it is: see `unsent`."""


def unsent(values: Mapping[str, object], typed: Mapping[str, int]) -> str | None:
    """Which of the values is not what stands in its field, in words; None where everything has arrived.

    What is longer than a message to the service may be, or cannot be sent, stays in the browser without a word.
    """
    for name, value in values.items():
        arrived = len(plain(value).encode("utf-16-le", "surrogatepass")) // 2  # as browsers count
        there = typed.get(name, arrived)
        if there != arrived:
            return (
                f"{name.removeprefix('!')}: the {there:,} characters that stand there have not reached the service; it takes "
                f"at most {LONGEST_TEXT} of a text, and nothing that cannot be stored."
            )
    return None


def plain(value: object) -> str:
    """A value as a field of the browser has it: without NULL, and with its ends of lines."""
    return str(value or "").replace("\r\n", "\n").replace("\r", "\n")


def keep_draft(element: ui.element, draft: str, value: str) -> None:
    """The browser keeps it, as it keeps what is typed."""
    element.client.run_javascript(f"pages.keep({json.dumps(draft)}, {json.dumps(value)})")
