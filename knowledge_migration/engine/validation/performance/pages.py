"""How long the pages and endpoints take that the operator lists in BASELINE_URLS (strategy §2.1): GET, from this process.

They take turns over warm connections. A page may be slow, so each has a budget and is asked less often then. The token
goes to the listed addresses only: a redirect is not followed. What a URL may hold of a secret is neither stored nor told
(see `addresses`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.timing import percentiles_ms
from knowledge_migration.engine.validation.performance.addresses import shown

REQUEST_SECONDS = 10.0
"""The longest that one answer may take, to its last byte."""

BUDGET_SECONDS = 5.0
"""For all requests of one page; a page of 50 ms is asked 100 times in it."""

FEWEST, WARM_UP = 5, 2


class UnreachablePageError(MigrationError):
    """A page that is to be timed did not answer, or not well."""


@dataclass(frozen=True)
class PageLatency:
    """How long one page took, in milliseconds."""

    url: str
    samples: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    status: int

    def to_evidence(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


@dataclass
class _Page:
    """One address, and what it has shown so far."""

    address: str
    seconds: list[float] = field(default_factory=list)
    spent: float = 0.0
    status: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether its budget lets it be asked again."""
        return self.spent < BUDGET_SECONDS or len(self.seconds) < FEWEST


def measure_pages(
    urls: Sequence[str],
    *,
    samples: int,
    bearer_token: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[PageLatency, ...]:
    """Times each page up to `samples` times; raises `UnreachablePageError` that names a page that fails."""
    pages = [_Page(url) for url in urls]
    headers = {"Authorization": f"Bearer {bearer_token}"} if bearer_token else {}
    with httpx.Client(headers=headers, timeout=REQUEST_SECONDS, follow_redirects=False) as client:
        for turn in range(WARM_UP + samples if pages else 0):
            for page in pages:
                if page.goes_on:
                    _ask(client, page, clock, counts=turn >= WARM_UP)
    return tuple(_latency(page) for page in pages)


def _ask(client: httpx.Client, page: _Page, clock: Callable[[], float], *, counts: bool) -> None:
    began = clock()
    with _telling_which(page.address), client.stream("GET", page.address) as answer:
        for _ in answer.iter_raw():
            if clock() - began > REQUEST_SECONDS:
                raise httpx.ReadTimeout(f"no end after {REQUEST_SECONDS:g} s")
    taken = clock() - began
    page.spent += taken
    page.status = answer.status_code
    if answer.status_code >= 400:
        raise UnreachablePageError(
            f"{shown(page.address)} answers {answer.status_code}: the time of an error says nothing. Correct "
            "BASELINE_URLS, or BASELINE_BEARER_TOKEN if it asks for one, and measure again."
        )
    if counts:
        page.seconds.append(taken)


@contextmanager
def _telling_which(address: str) -> Iterator[None]:
    """Says which page failed, never with the words of an error that may quote the address."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnreachablePageError(
            f"{shown(address)} does not answer ({type(error).__name__}). Start what serves it, or correct "
            "BASELINE_URLS, and measure again."
        ) from None


def _latency(page: _Page) -> PageLatency:
    if not page.seconds:
        raise PreconditionError(f"{shown(page.address)} was not asked often enough to say how long it takes.")
    median, p95, p99 = percentiles_ms(page.seconds)
    longest = round(1000 * max(page.seconds), 4)
    return PageLatency(shown(page.address), len(page.seconds), median, p95, p99, longest, page.status)
