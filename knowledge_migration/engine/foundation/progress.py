"""Progress of long work: a step reports it, and listeners in the same process display it.

Without a listener nothing is displayed; the command line adds one that draws bars.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """The progress of a piece of work: `done` of `total` in `unit`; both None for a message only."""

    work: str
    message: str
    done: int | None = None
    total: int | None = None
    unit: str = ""


Listener = Callable[[Report], None]

_listeners: list[Listener] = []


def report_progress(report: Report) -> None:
    """Sends a report to all listeners in this process."""
    for listener in _listeners:
        listener(report)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Adds a listener while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
