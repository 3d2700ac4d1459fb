"""How long work tells where it stands: a step of the migration reports, whoever runs it listens.

Without a listener nothing is shown; the command line sets one that draws bars, Dagster's runs log lines of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """Where a piece of work stands: `done` of `total` in `unit`; both None when it only has words."""

    work: str
    words: str
    done: int | None = None
    total: int | None = None
    unit: str = ""


Listener = Callable[[Report], None]

_listeners: list[Listener] = []


def tell(report: Report) -> None:
    """Hands a report to everybody who listens in this process."""
    for listener in _listeners:
        listener(report)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Listens while the body runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
