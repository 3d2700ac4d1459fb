"""What a service measures reaches the database: each extraction by mode, each request by route, errors apart from refusals."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.extraction.model import Extraction, ExtractionError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.measurements import BUCKET_SECONDS, Measured, Measurements, outcome_of_status
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, topic
from knowledge_migration_tests.serving import serving

KEPT = """
SELECT operation, mode, sum(requests)::int AS requests, sum(errors)::int AS errors, sum(refused)::int AS refused
FROM migration.service_measurement GROUP BY operation, mode
"""
QUICKLY = {"measurement_seconds": 0.05}


def measured(rows: Connection, until: Callable[[dict[Any, Any]], bool]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """What is kept, as soon as it is what a test waits for."""
    pause = threading.Event()
    for _ in range(1_500):
        found = {
            (row["operation"], row["mode"]): (row["requests"], row["errors"], row["refused"])
            for row in rows.execute(KEPT)
        }
        if until(found):
            return found
        pause.wait(0.02)
    raise AssertionError(f"never came true: {found}")


def post(url: str, *messages: int, user: int = 1) -> int:
    body = {"message_ids": list(messages), "user_id": user}
    return httpx.post(f"{url}/api/v1/knowledge/extract", json=body, timeout=20).status_code


@pytest.mark.parametrize(("dual_write", "mode"), [(False, "direct"), (True, "dual_write")])
def test_extractions_are_kept_by_mode_and_requests_by_route(
    peopled: Database, rows: Connection, dual_write: bool, mode: str
) -> None:
    with serving(peopled, FakeExtractor(), initial_flags=Flags(dual_write=dual_write), **QUICKLY) as url:
        assert [post(url, 1) for _ in range(3)] == [200, 200, 200]
        httpx.get(f"{url}/api/v1/topics")
        httpx.get(f"{url}/health")
        found = measured(rows, lambda kept: ("GET /topics", "") in kept)
    assert found == {
        ("extraction", mode): (3, 0, 0),
        ("POST /knowledge/extract", ""): (3, 0, 0),
        ("GET /topics", ""): (1, 0, 0),
    }


def test_a_failure_is_an_error_and_a_wrong_request_is_not_counted(peopled: Database, rows: Connection) -> None:
    async def fail(_: Any) -> Extraction:
        raise ExtractionError("the model is away")

    with serving(peopled, FakeExtractor(fail), **QUICKLY) as url:
        assert post(url, 1) == 502
        assert post(url, 999_999) == 404
        found = measured(rows, lambda kept: len(kept) == 2)
    assert found == {("extraction", "direct"): (1, 1, 0), ("POST /knowledge/extract", ""): (1, 1, 0)}


def test_what_the_full_queue_refuses_is_counted_apart(peopled: Database, rows: Connection) -> None:
    flags = Flags(enabled=True, cutover_percentage=100)
    answer = Extraction(topics=(topic("unsure", 0.2),))
    with serving(peopled, FakeExtractor(answer), initial_flags=flags, queue_limit=1, **QUICKLY) as url:
        assert [post(url, 1), post(url, 1)] == [200, 429]
        found = measured(rows, lambda kept: kept.get(("POST /knowledge/extract", "")) == (2, 0, 1))
    assert found["extraction", "proposal"] == (2, 0, 1)


def test_what_is_left_is_written_when_the_service_stops(peopled: Database, rows: Connection) -> None:
    with serving(peopled, FakeExtractor(), measurement_seconds=600) as url:
        post(url, 1)
    assert measured(rows, bool)["extraction", "direct"] == (1, 0, 0)


def test_what_could_not_be_written_is_kept_for_the_next_time() -> None:
    kept = Measurements()
    kept.count("extraction", "direct", "answered", 0.5)

    def lose() -> None:
        with kept.taken():
            kept.count("extraction", "direct", "error", 0.1)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        lose()
    with kept.taken() as taken:
        (found,) = taken.values()
    assert (found.requests, found.errors, sum(found.buckets)) == (2, 1, 1)
    with kept.taken() as taken:
        assert taken == {}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.1, 4), (0.1001, 5), (2.0, 8), (31.0, len(BUCKET_SECONDS))]
)
def test_a_bucket_ends_with_its_bound(seconds: float, bucket: int) -> None:
    found = Measured()
    found.answered_in(seconds)
    assert found.buckets.index(1) == bucket


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "answered"), (404, "not counted"), (429, "refused"), (500, "error"), (503, "error")]
)
def test_a_status_counts_as_whose_fault_it_is(status: int, outcome: str) -> None:
    assert outcome_of_status(status) == outcome
