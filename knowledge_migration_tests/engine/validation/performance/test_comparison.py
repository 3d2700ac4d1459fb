"""Before and after: ratios normalised for machine speed, names that are not in the baseline, and repeated rounds."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.observability.plots import before_and_after
from knowledge_migration.engine.preparation import baseline
from knowledge_migration.engine.preparation.baseline import Baseline, QueryLatency, measure
from knowledge_migration.engine.validation.performance.comparison import compare, compare_within, comparison_outcome
from knowledge_migration.engine.validation.performance.pages import PageLatency

ROWS = """
INSERT INTO topics (name, description) SELECT 'topic ' || n, '' FROM generate_series(1, 100) AS n;
INSERT INTO atoms (type, title, content, user_approved)
SELECT 'insight', 'atom ' || n, repeat('x', 200), false FROM generate_series(1, 100) AS n;
"""


@pytest.fixture
def rows(expanded: Database) -> Iterator[Connection]:
    """After phase 1, with 100 topics and 100 atoms."""
    with expanded.connect("test") as connection:
        connection.execute(ROWS)
        yield connection


def latency(query: str, median: float, p95: float | None = None) -> QueryLatency:
    return QueryLatency(query, "GET /", 100, median, p95 or median, median, median)


def page(url: str, median: float) -> PageLatency:
    return PageLatency(url, 100, median, median, median, median, 200)


def before(control: float | None = 1.0, pages: tuple[PageLatency, ...] = (), **queries: float) -> dict[str, Any]:
    """The content of a baseline's evidence."""
    content = Baseline(
        tuple(latency(query, median) for query, median in queries.items()),
        latency("control", control + 0.5) if control else None,
        latency("round_trip", 0.5) if control else None,
    ).to_evidence()
    return {**content, "urls": [one.to_evidence() for one in pages]}


def now(control: float = 1.0, round_trip: float = 0.5, **queries: float) -> Baseline:
    return Baseline(
        tuple(latency(query, median) for query, median in queries.items()),
        latency("control", control + round_trip),
        latency("round_trip", round_trip),
    )


def test_ratios_are_normalised_for_a_machine_twice_as_slow() -> None:
    """Of 1 ms half a millisecond is the round trip, which takes 1 ms now; the rest is work, which takes twice as long."""
    today = now(2.0, round_trip=1.0, topic=2.0, atom=10.0)
    compared = compare(before(topic=1.0, atom=4.0), today, (), phase="x", limit_ratio=1.2)
    assert {one.name: (one.expected_ms, one.ratio) for one in compared.queries} == {
        "topic": (2.0, 1.0),
        "atom": (8.0, 1.25),
    }
    assert (compared.slowest_ratio, compared.passed) == (1.25, False)
    outcome = comparison_outcome(compared)
    assert [row["query"] for row in outcome.sample] == ["atom"]
    assert outcome.numbers["machine_ratio"] == 2.0


def test_a_slower_round_trip_does_not_excuse_slower_work() -> None:
    today = now(1.0, round_trip=1.0, topic=1.5, atom=6.0)
    compared = compare(before(topic=1.0, atom=4.0), today, (), phase="x", limit_ratio=1.2)
    assert {one.name: one.expected_ms for one in compared.queries} == {"topic": 1.5, "atom": 4.5}
    assert [row["query"] for row in comparison_outcome(compared).sample] == ["atom"]


def test_a_baseline_without_a_control_is_compared_as_it_is() -> None:
    compared = compare(before(None, topic=1.0), now(2.0, topic=1.5), (), phase="x", limit_ratio=1.2)
    assert (compared.slowest_ratio, compared.control) == (1.5, None)


def test_what_is_not_in_the_baseline_is_named_and_not_compared() -> None:
    known, new = page("http://one/", 10.0), page("http://new/", 1000.0)
    content = before(topic=1.0, pages=(known,))
    compared = compare(content, now(1.0, topic=1.0, fresh=9.0), (known, new), phase="x", limit_ratio=1.2)
    assert compared.not_in_the_baseline == ("fresh", "http://new/")
    assert [one.name for one in compared.everything] == ["topic", "http://one/"]
    assert compared.passed


def test_a_slower_page_is_beyond_the_limit_though_no_query_is() -> None:
    content = before(topic=1.0, pages=(page("http://one/", 10.0),))
    compared = compare(content, now(1.0, topic=1.0), (page("http://one/", 13.0),), phase="x", limit_ratio=1.2)
    assert [row["query"] for row in comparison_outcome(compared).sample] == ["http://one/"]


def test_a_baseline_of_other_queries_cannot_be_compared_with() -> None:
    with pytest.raises(VerificationError, match="none of the endpoint queries"):
        compare(before(another=1.0), now(1.0, topic=1.0), (), phase="x", limit_ratio=1.2)


def test_without_a_baseline_nothing_is_compared(rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="performance baseline of this database yet"):
        compare_within(rows, "x", samples=20, limit_ratio=1.2)


def test_the_evidence_names_phase_queries_pages_and_verdict(rows: Connection) -> None:
    content = {**measure(rows, samples=20).to_evidence(), "urls": [page("http://one/", 10.0).to_evidence()]}
    evidence.record(rows, "performance_baseline", content)
    compared = compare_within(
        rows, "phase_1_schema", samples=20, limit_ratio=1000, pages=lambda: [page("http://one/", 20.0)]
    )
    content = json.loads(json.dumps(compared.to_evidence(), allow_nan=False))
    assert (content["phase"], content["limit_ratio"], content["passed"], content["rounds"]) == (
        "phase_1_schema",
        1000,
        True,
        1,
    )
    keys = {"baseline_p50_ms", "p50_ms", "baseline_p95_ms", "p95_ms", "ratio"}
    assert all(keys | {"query"} <= row.keys() for row in content["queries"])
    assert len(content["queries"]) == 6
    assert [(row["url"], row["ratio"]) for row in content["urls"]] == [("http://one/", 2.0)]
    assert content["slowest_ratio"] >= 2.0
    assert before_and_after(compared.as_frame()).png.startswith(b"\x89PNG")


def test_a_slow_result_is_measured_again_and_the_best_round_counts(rows: Connection) -> None:
    queries = {latency.query: 1e6 for latency in measure(rows, samples=20).latencies}
    evidence.record(rows, "performance_baseline", before(pages=(page("http://one/", 10.0),), **queries))
    times = iter([50.0, 30.0, 11.0, 99.0])
    compared = compare_within(rows, "x", samples=20, limit_ratio=1.2, pages=lambda: [page("http://one/", next(times))])
    assert (compared.rounds, compared.slowest_ratio, compared.passed) == (3, 1.1, True)


def test_a_slow_query_is_reported_after_the_last_round(rows: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence.record(rows, "performance_baseline", before(atoms_by_title=1.0, topics_page=1.0))
    measurements = iter([now(atoms_by_title=5.0, topics_page=1.0), now(atoms_by_title=4.0, topics_page=1.0)])
    monkeypatch.setattr(baseline, "measure", lambda *_, **__: next(measurements))
    compared = compare_within(rows, "x", samples=50, limit_ratio=2.0, rounds=2)
    assert (compared.passed, compared.rounds) == (False, 2)
    assert [(row["query"], row["ratio"]) for row in comparison_outcome(compared).sample] == [("atoms_by_title", 4.0)]
