"""The performance baseline: what is measured, of which rows, and that an empty or slow database is no baseline."""

import itertools
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.observability.plots import latency_percentiles
from knowledge_migration.engine.preparation import baseline as module
from knowledge_migration.engine.preparation.baseline import (
    ENDPOINT_QUERIES,
    Baseline,
    QueryLatency,
    measure,
)

QUERIES = [query.name for query in ENDPOINT_QUERIES]

SEED = (
    "INSERT INTO topics (id, name, description) SELECT n, 'Topic ' || n, '' FROM generate_series(1, %(topics)s) AS n",
    "INSERT INTO atoms (id, type, title, content, user_approved) "
    "SELECT 10 * n, 'insight', 'Atom ' || (n + 1) / 2, '', false FROM generate_series(1, %(atoms)s) AS n",
    "INSERT INTO topic_atoms (topic_id, atom_id, position) SELECT 1, id, -id FROM atoms",
)


def seed(connection: Connection, *, topics: int, atoms: int) -> None:
    """Topics 1, 2, 3, …; atoms 10, 20, 30, …, two of each title, all of topic 1 in descending order."""
    for statement in SEED:
        connection.execute(statement, {"topics": topics, "atoms": atoms})


@pytest.fixture
def seeded(connection: Connection) -> Connection:
    """A hundred topics and a hundred atoms."""
    seed(connection, topics=100, atoms=100)
    return connection


def drawn(connection: Connection, table: str, samples: int) -> list[int]:
    """The ids drawn of a table."""
    rows = connection.execute(text_of(f"performance/endpoint_draw_{table}"), {"samples": samples}).fetchall()
    return [row["id"] for row in rows]


def asked(connection: Connection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of an endpoint query."""
    return connection.execute(text_of(f"performance/endpoint_{query}"), parameters).fetchall()


def ticking(*steps: float) -> Iterator[float]:
    """The times of a clock that goes on by these seconds, over and over."""
    return itertools.accumulate(itertools.cycle(steps), initial=0.0)


def test_every_endpoint_query_is_measured_with_ordered_percentiles(any_database: Database) -> None:
    with any_database.connect("test") as connection:
        seed(connection, topics=100, atoms=100)
        result = measure(connection, samples=40)
    assert [latency.query for latency in result.latencies] == QUERIES
    for latency in result.latencies:
        assert latency.samples == 40
        assert 0 < latency.median_ms <= latency.p95_ms <= latency.p99_ms <= latency.max_ms


def test_each_query_is_timed_alone_and_in_turn_and_warming_up_does_not_count(seeded: Connection) -> None:
    """Query k takes k seconds by this clock, the controls 7 and 8, 1 s lies between; warming up takes 1,000 times as long."""
    steps = [second for k in range(1, len(QUERIES) + 3) for second in (float(k), 1.0)]
    times = ticking(*[1000 * step for step in steps], *steps, *steps, *steps)
    result = measure(seeded, samples=3, warmup=1, clock=lambda: next(times))
    expected = [(1000.0 * k, 1000.0 * k) for k in range(1, len(QUERIES) + 1)]
    assert [(latency.median_ms, latency.max_ms) for latency in result.latencies] == expected
    assert result.control
    assert result.round_trip
    assert (result.round_trip.median_ms, result.control.median_ms, result.control.samples) == (7000.0, 8000.0, 3)


def test_percentiles_are_those_of_the_samples(seeded: Connection) -> None:
    """One query after the other takes 1, 2, …, 800 ms: each of the six and the two controls has every eighth of them."""
    times = itertools.chain.from_iterable((0.0, number / 1000) for number in itertools.count(1))
    result = measure(seeded, samples=100, warmup=0, clock=lambda: next(times))
    first = result.latencies[0]
    assert (first.median_ms, first.max_ms) == (397.0, 793.0)
    assert first.p95_ms == pytest.approx(753.4)
    assert first.p99_ms == pytest.approx(785.08)


def test_rows_are_drawn_evenly_and_the_same_each_time(seeded: Connection) -> None:
    assert drawn(seeded, "topics", 4) == [25, 50, 75, 100]
    assert drawn(seeded, "atoms", 5) == [200, 400, 600, 800, 1000]
    seeded.execute("DELETE FROM topics WHERE id > 50")
    assert drawn(seeded, "topics", 5) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("samples", [1, 3, 7, 99, 100, 250])
def test_as_many_rows_are_drawn_as_samples_or_all_there_are(seeded: Connection, samples: int) -> None:
    ids = drawn(seeded, "topics", samples)
    assert len(ids) == len(set(ids)) == min(samples, 100)
    gaps = [later - earlier for earlier, later in itertools.pairwise(ids)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_table_with_fewer_rows_than_samples_is_asked_for_them_again(connection: Connection) -> None:
    seed(connection, topics=1, atoms=2)
    assert {latency.samples for latency in measure(connection, samples=25).latencies} == {25}


def test_the_queries_are_those_of_the_endpoints(seeded: Connection) -> None:
    assert [row["id"] for row in asked(seeded, "topics_page", id=31)] == list(range(31, 81))
    assert [row["name"] for row in asked(seeded, "topic", id=7)] == ["Topic 7"]
    assert [row["id"] for row in asked(seeded, "atoms_of_a_topic", id=1)] == list(range(1000, 0, -10))
    assert asked(seeded, "atoms_of_a_topic", id=2) == []
    assert [row["id"] for row in asked(seeded, "atoms_page", id=505)] == list(range(510, 1001, 10))
    assert [row["title"] for row in asked(seeded, "atom", id=30)] == ["Atom 2"]
    assert [row["id"] for row in asked(seeded, "atoms_by_title", title="Atom 2")] == [30, 40]


@pytest.mark.parametrize(("topics", "atoms"), [(0, 0), (1, 0), (0, 1)])
def test_an_empty_table_is_asked_for_rows_that_do_not_exist(connection: Connection, topics: int, atoms: int) -> None:
    for statement in SEED[:2]:
        connection.execute(statement, {"topics": topics, "atoms": atoms})
    measured = measure(connection, samples=20)
    assert {one.samples for one in measured.latencies} == {20}


def test_a_query_that_meets_the_timeout_is_no_baseline(
    seeded: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENT_TIMEOUT_SECONDS", 0.2)
    with database.connect("blocker") as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE atoms IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(VerificationError, match=r"endpoint_draw_atoms was cancelled"):
            measure(seeded, samples=20)
    assert measure(seeded, samples=20).latencies


def test_the_sessions_own_timeout_is_back_afterwards(seeded: Connection) -> None:
    seeded.execute("SET statement_timeout = '77s'")
    measure(seeded, samples=20)
    assert seeded.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "77s"}


def test_progress_tells_the_rounds(seeded: Connection) -> None:
    said: list[str] = []
    measure(seeded, samples=100, progress=said.append)
    assert said == ["measured 50 of 100 rounds of 6 queries", "measured 100 of 100 rounds of 6 queries"]


def test_the_evidence_is_what_json_can_hold_and_the_frame_says_the_same(seeded: Connection) -> None:
    result = measure(seeded, samples=20)
    evidence = json.loads(json.dumps(result.to_evidence(), allow_nan=False))
    assert evidence["unit"] == "ms"
    assert evidence["queries"] == result.as_frame().to_dict("records")
    assert evidence["control"] == asdict(result.control)  # type: ignore[call-overload]


def test_the_chart_of_latencies_is_a_png_of_readable_width() -> None:
    latencies = [QueryLatency(query, "GET /", 200, 0.1, 0.5, 2.0, 7000.0) for query in QUERIES]
    picture = latency_percentiles(Baseline(tuple(latencies)).as_frame()).png
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG")
    assert (600 <= width <= 900, 200 <= height <= 600) == (True, True)
