"""Latency of the pages and endpoints that BASELINE_URLS lists (strategy §2.1): GET requests from this process, interleaved.

The token is sent to the listed addresses only, because redirects are not followed. Secrets in a URL are neither stored nor
reported (see `addresses`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from knowledge_migration.addresses import shown
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.timing import Clock, time_interleaved

REQUEST_SECONDS = 10.0
"""The longest duration of one request, up to the last byte of its answer."""

BUDGET_SECONDS = 5.0
"""For all requests of one page; a page of 50 ms is requested 100 times in it."""

FEWEST, WARM_UP = 5, 2


class UnreachablePageError(MigrationError):
    """A listed page did not answer, or answered an error."""


@dataclass(frozen=True)
class PageLatency:
    """Percentiles of one page in milliseconds, its slowest sample, and its last status."""

    url: str
    samples: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    status: int

    def to_evidence(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measure_pages(
    urls: Sequence[str],
    *,
    samples: int,
    bearer_token: str | None = None,
    clock: Clock = time.perf_counter,
) -> tuple[PageLatency, ...]:
    """Times each page up to `samples` times; raises `UnreachablePageError` naming a page that fails."""
    headers = {"Authorization": f"Bearer {bearer_token}"} if bearer_token else {}
    statuses: dict[str, int] = {}
    with httpx.Client(headers=headers, timeout=REQUEST_SECONDS, follow_redirects=False) as client:

        def request(url: str) -> Callable[[], None]:
            def send() -> None:
                statuses[url] = _request(client, url)

            return send

        timed = time_interleaved(
            [request(url) for url in urls],
            samples=samples,
            warm_up=WARM_UP,
            clock=clock,
            budget_seconds=BUDGET_SECONDS,
            fewest_samples=FEWEST,
        )
    for url, result in zip(urls, timed, strict=True):
        if not result.seconds:
            raise PreconditionError(f"{shown(url)} was requested too rarely for a latency.")
    return tuple(
        PageLatency(shown(url), **vars(result.latency()), status=statuses[url])
        for url, result in zip(urls, timed, strict=True)
    )


def _request(client: httpx.Client, url: str) -> int:
    started = time.monotonic()
    with _naming_the_page(url), client.stream("GET", url) as answer:
        for _ in answer.iter_raw():
            if time.monotonic() - started > REQUEST_SECONDS:
                raise httpx.ReadTimeout(f"no end after {REQUEST_SECONDS:g} s")
    if answer.status_code >= 400:
        raise UnreachablePageError(
            f"{shown(url)} answers {answer.status_code}; the latency of an error is no baseline. Correct BASELINE_URLS, or "
            "BASELINE_BEARER_TOKEN if the page requires one, and measure again."
        )
    return answer.status_code


@contextmanager
def _naming_the_page(url: str) -> Iterator[None]:
    """Names the page that failed, without the message of an error that may quote its address."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnreachablePageError(
            f"{shown(url)} does not answer ({type(error).__name__}). Start its server, or correct BASELINE_URLS, and "
            "measure again."
        ) from None
