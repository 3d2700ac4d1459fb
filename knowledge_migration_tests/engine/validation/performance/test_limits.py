"""The lists against their limits: what is asked, of whom the statements are, plans, limits, and what it must never do."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.validation.performance import limits as module
from knowledge_migration.engine.validation.performance.limits import (
    PerformanceValidation,
    SequentialScan,
    explain,
    limits_outcome,
    scans_outcome,
    sequential_scans,
    validate,
)
from knowledge_migration.engine.validation.performance.queries import LimitedQuery, SentStatement
from knowledge_migration.knowledge.api.app import create_app
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.thresholds import GATES, Gate
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned, drop

ROWS = """
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, created_at)
SELECT md5('run' || n)::uuid, 'completed', '[]', 0, now() - n * interval '1 minute' FROM generate_series(1, 200) AS n;
INSERT INTO topic_proposals (extraction_run_id, name, description, status, confidence, created_at)
SELECT md5('run' || 1 + n % 200)::uuid, 't' || n, '', (ARRAY['pending', 'approved'])[1 + n % 2], n % 100 / 100.0,
       now() - n * interval '1 second'
FROM generate_series(1, 12000) AS n;
INSERT INTO atom_proposals (extraction_run_id, type, title, content, status, confidence)
SELECT md5('run' || 1 + n % 200)::uuid, 'insight', 'a' || n, '', (ARRAY['pending', 'approved'])[1 + n % 2], n % 100 / 100.0
FROM generate_series(1, 8000) AS n;
"""
LARGE = 5_000
SAMPLES = 3


@pytest.fixture(scope="module")
def filled(server: EmbeddedServer) -> Iterator[Database]:
    """12,000 topic proposals and 8,000 atom proposals of 200 runs, analyzed; tests only read it."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test") as connection:
        connection.execute(ROWS)
        connection.execute("VACUUM ANALYZE")
    yield database
    drop(server, database)


@pytest.fixture
def changed(server: EmbeddedServer, filled: Database) -> Iterator[Database]:
    """A copy of it for a test that changes its schema."""
    with cloned(server, filled.name) as database:
        yield database


@pytest.fixture(scope="module")
def measured(filled: Database) -> PerformanceValidation:
    """Every list against the limits of the gates."""
    return measure(filled)


def measure(database: Database, gates: Sequence[Gate] = GATES, *, large_rows: int = LARGE) -> PerformanceValidation:
    """A validation by a clock that advances 1 ms per reading: no verdict depends on the speed of the machine."""
    clock = (milliseconds / 1_000 for milliseconds in itertools.count())
    return validate(database, gates, samples=SAMPLES, large_rows=large_rows, clock=clock.__next__)


@pytest.fixture
def reading(filled: Database) -> Iterator[sa.Connection]:
    """A SQLAlchemy connection on it, in autocommit."""
    with filled.engine() as engine, engine.connect() as connection:
        yield connection


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[sa.Connection], object]], None]:
    """Puts one query of the test's own in the place of all."""

    def put(ask: Callable[[sa.Connection], object]) -> None:
        query = LimitedQuery("mine", "a test", "slow_proposal_lists", ask)
        monkeypatch.setattr(module, "limited_queries", lambda _: (query,))

    return put


def scanned(measured: PerformanceValidation) -> dict[str, list[str]]:
    return {verdict.query: verdict.scanned for verdict in measured.verdicts if verdict.scanned}


def test_every_list_is_measured_against_the_limit_of_its_gate(measured: PerformanceValidation) -> None:
    limits = {verdict.query: verdict.limit_ms for verdict in measured.verdicts}
    proposals = ("pending", "approved", "topics_page", "atoms_page")
    assert {limit for query, limit in limits.items() if query.startswith(proposals)} == {100.0}
    assert {limit for query, limit in limits.items() if query.startswith("run")} == {200.0}
    assert {limit for query, limit in limits.items() if query.startswith("similar")} == {500.0}
    assert len(limits) == 16
    for verdict in measured.verdicts:
        assert 0 < verdict.p50_ms <= verdict.p95_ms <= verdict.p99_ms
        assert verdict.samples == SAMPLES
    assert scanned(measured) == {}


def test_the_evidence_has_each_query_with_its_plan_and_is_what_json_can_hold(measured: PerformanceValidation) -> None:
    content = json.loads(json.dumps(measured.to_evidence(), allow_nan=False))
    assert content.keys() == {"queries", "proposals", "passed"}
    assert (content["proposals"], content["passed"]) == (20_000, measured.passed)
    keys = {"query", "p50_ms", "p95_ms", "p99_ms", "limit_ms", "within", "sequential_scans", "plan"}
    for row in content["queries"]:
        assert keys <= row.keys()
        assert all("Plan" in one and one["executed"] for one in row["plan"]["statements"])


def test_the_statements_are_those_that_the_service_sends(filled: Database, measured: PerformanceValidation) -> None:
    """The same lists asked for over HTTP, every statement kept on the way to the server."""
    explained = {
        plan.text
        for verdict in measured.verdicts
        if verdict.query in ("pending_by_confidence", "pending_by_age", "runs", "topics_page", "atoms_page")
        for plan in verdict.plans
    }
    assert len(explained) == 7
    assert explained <= sent_over_http(
        filled,
        ("/knowledge/proposals", "/knowledge/proposals?sort=created_at", "/knowledge/runs", "/topics", "/atoms"),
    )


def sent_over_http(database: Database, paths: tuple[str, ...]) -> set[str]:
    """What the service sends to the database for these requests."""
    service, sent = KnowledgeService(ServiceOptions(database_url=database.url), LocalExtractor()), set[str]()

    async def ask() -> None:
        async with service.running():
            sa.event.listen(service.engine.sync_engine, "before_cursor_execute", lambda *about: sent.add(about[2]))
            transport = httpx.ASGITransport(create_app(service), client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1") as client:
                for path in paths:
                    assert (await client.get(path)).status_code == 200

    asyncio.run(ask())
    return sent


def test_a_missing_index_is_seen_as_a_named_scan_of_a_large_table(changed: Database) -> None:
    with changed.connect("test") as connection:
        connection.execute("DROP INDEX idx_topic_proposals_run_created")
    measured = measure(changed)
    found = scanned(measured)
    assert found["run_history"] == ["public.topic_proposals"]
    assert found["runs"] == ["public.topic_proposals"]
    assert not found.keys() & {"pending_proposals", "pending_by_confidence", "topics_page"}
    outcome = scans_outcome(measured, LARGE)
    assert not outcome.passed
    assert {"query": "runs", "table": "public.topic_proposals", "rows": 12_000} in outcome.sample
    assert scanned(measure(changed, large_rows=12_001)) == {}


def test_a_table_without_statistics_is_large_by_what_was_read(changed: Database) -> None:
    with changed.engine() as engine, engine.connect() as reading:
        reading.exec_driver_sql("CREATE TABLE new (n integer) WITH (autovacuum_enabled = false)")
        reading.exec_driver_sql("INSERT INTO new SELECT generate_series(1, 1000)")
        plan = explain(reading, SentStatement("SELECT * FROM new WHERE n = %(n)s", {"n": 5}))
        assert sequential_scans(reading, [plan], 1_000) == [SequentialScan("public.new", 1_000)]
        assert sequential_scans(reading, [plan], 1_001) == []
    assert "Seq Scan on new" in plan.as_text


def test_a_list_beyond_its_limit_is_reported_with_its_latency(filled: Database) -> None:
    unmet = "slow_run_histories"
    gates = [
        replace(gate, limit_seconds=1e-6 if gate.metric == unmet else 60.0) for gate in GATES if gate.limit_seconds
    ]
    measured = measure(filled, gates)
    outcome = limits_outcome(measured)
    assert not measured.passed
    assert [row["query"] for row in outcome.sample] == ["run_history", "runs", "runs_next_page"]
    assert {row["limit_ms"] for row in outcome.sample} == {0.001}
    assert outcome.numbers["proposals"] == 20_000


def test_a_query_that_meets_the_timeout_is_beyond_its_limit_and_asked_no_more(
    filled: Database, monkeypatch: pytest.MonkeyPatch, only: Callable[..., None]
) -> None:
    monkeypatch.setattr(module, "STATEMENT_TIMEOUT_SECONDS", 0.2)
    asked: list[int] = []

    def endless(connection: sa.Connection) -> None:
        asked.append(1)
        connection.exec_driver_sql("SELECT pg_sleep(60)")

    only(endless)
    (verdict,) = measure(filled).verdicts
    assert (verdict.timed_out, verdict.within, verdict.samples, len(asked)) == (True, False, 1, 2)
    assert not verdict.plans[0].executed
    assert "not executed" in verdict.plans[0].as_text


def test_a_list_that_is_locked_out_is_no_measurement(
    filled: Database, monkeypatch: pytest.MonkeyPatch, only: Callable[..., None]
) -> None:
    monkeypatch.setattr(module, "STATEMENT_TIMEOUT_SECONDS", 0.2)
    only(lambda connection: connection.exec_driver_sql("SELECT * FROM topics"))
    with filled.connect("blocker") as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE topics IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(VerificationError, match="somebody holds a lock"):
            measure(filled)


def test_nothing_can_be_written_while_it_measures(filled: Database, only: Callable[..., None]) -> None:
    only(lambda connection: connection.exec_driver_sql("UPDATE topic_proposals SET name = 'x'"))
    with pytest.raises(sa.exc.InternalError) as refused:
        measure(filled)
    assert isinstance(refused.value.orig, psycopg.errors.ReadOnlySqlTransaction)


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM topic_proposals",
        "-- SELECT\nDELETE FROM topic_proposals",
        "/* SELECT */ TRUNCATE topic_proposals",
        "WITH gone AS (DELETE FROM topic_proposals RETURNING id) SELECT * FROM gone",
    ],
)
def test_only_a_select_is_executed_for_its_plan(reading: sa.Connection, text: str) -> None:
    with pytest.raises(VerificationError, match="no SELECT"):
        explain(reading, SentStatement(text, {}))
    assert reading.exec_driver_sql("SELECT count(*) FROM topic_proposals").scalar_one() == 12_000


def test_no_transaction_stays_open_between_two_queries(
    filled: Database, only: Callable[..., None], connection_of: Connection
) -> None:
    """A schema change would wait behind one."""
    states: list[Any] = []

    def look(asking: sa.Connection) -> None:
        pid = asking.exec_driver_sql(
            "SELECT pg_backend_pid() FROM topics RIGHT JOIN (SELECT 1) AS one ON true"
        ).scalar_one()
        query = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        states.append(connection_of.execute(query, (pid,)).fetchone())

    only(look)
    measure(filled)
    assert states[-1] == {"state": "idle"}


@pytest.fixture
def connection_of(filled: Database) -> Iterator[Connection]:
    """A second session on the filled database."""
    with filled.connect("test") as opened:
        yield opened


def test_without_proposals_nothing_is_measured(expanded: Database) -> None:
    with pytest.raises(PreconditionError, match="no topic proposal"):
        measure(expanded)


def test_before_phase_1_nothing_is_measured(database: Database) -> None:
    with pytest.raises(PreconditionError, match="run phase 1"):
        measure(database)
