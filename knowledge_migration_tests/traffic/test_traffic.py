"""The traffic tells what users got, and finds every acknowledged write that is not there, changed, or back again."""

import asyncio
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from knowledge_migration.engine import audit
from knowledge_migration.engine.database import Database
from knowledge_migration.engine.schema.ddl import LockLimits
from knowledge_migration.engine.schema.rollback import rollback_schema
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.traffic.journal import Journal
from knowledge_migration.traffic.measurements import Measurements, Stall, percentile
from knowledge_migration.traffic.report import TrafficReport
from knowledge_migration.traffic.run import TrafficOptions, run_traffic
from knowledge_migration.traffic.verification import Lost, Verified, verify
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving


@pytest.fixture
def peopled(expanded: Database) -> Database:
    """After phase 1, with 20 users and 200 messages."""
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    return expanded


def traffic(database: Database, url: str, **options: Any) -> TrafficReport:
    given = {"requests_per_second": 60.0, "seconds": 3.0, **options}
    return asyncio.run(run_traffic(TrafficOptions(url, database, **given), asyncio.Event()))


@pytest.mark.parametrize("flags", [Flags(), Flags(dual_write=True), Flags(enabled=True, cutover_percentage=100)])
def test_nothing_is_lost_in_any_mode(peopled: Database, flags: Flags) -> None:
    with serving(peopled, initial_flags=flags, queue_limit=100_000) as url:
        report = traffic(peopled, url)
    assert (report.failed, report.failures, report.lost) == (0, (), ())
    assert report.well
    assert report.requests == 180
    assert report.acknowledged_writes > 20
    assert {latency.operation for latency in report.latencies} >= {"all", "extract", "edit_atom", "delete_atom"}


def test_it_works_before_phase_1(database: Database) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    with serving(database) as url:
        assert traffic(database, url, seconds=1.0).well


def test_a_full_queue_is_an_answer_and_no_failure(peopled: Database) -> None:
    with serving(peopled, initial_flags=Flags(enabled=True, cutover_percentage=100), queue_limit=1) as url:
        report = traffic(peopled, url, seconds=1.0)
    assert report.refused > 0
    assert report.well


def test_a_service_that_fails_is_no_success(peopled: Database) -> None:
    class Failing:
        name = "failing"

        async def extract(self, messages: Any) -> Extraction:
            raise RuntimeError

    with serving(peopled, Failing()) as url:
        report = traffic(peopled, url, seconds=1.0)
    assert report.failed > 0
    assert not report.well
    assert "502" in report.failures[0]


def test_no_service_is_no_success(peopled: Database) -> None:
    report = traffic(peopled, "http://127.0.0.1:9", seconds=0.2)
    assert report.failed == report.requests > 0


def test_the_stop_ends_it(peopled: Database) -> None:
    stop = asyncio.Event()

    async def run() -> TrafficReport:
        with serving(peopled) as url:
            options = TrafficOptions(url, peopled, requests_per_second=50.0)
            seen = 0

            def told(_: Measurements) -> None:
                nonlocal seen
                seen += 1
                if seen == 20:
                    stop.set()

            return await run_traffic(options, stop, on_progress=told)

    assert asyncio.run(run()).requests == 20


DAMAGE = [
    ("DELETE FROM topics WHERE name = 'kept'", Lost("topic 1", "was acknowledged, and is not there")),
    (
        "UPDATE topics SET description = 'other' WHERE name = 'kept'",
        Lost("topic 1", "description was 'd' and is 'other'"),
    ),
    (
        "INSERT INTO atoms (id, type, title, content, user_approved) VALUES (7, 'insight', 't', 'c', false)",
        Lost("atom 7", "was deleted, and is there"),
    ),
    ("", None),
]


@pytest.mark.parametrize(("damage", "lost"), DAMAGE)
def test_each_kind_of_loss_is_found(peopled: Database, damage: str, lost: Lost | None) -> None:
    journal = Journal()
    journal.written("topic", 1, {"name": "kept", "description": "c"})
    journal.written("topic", 1, {"description": "d"})
    journal.written("atom", 7, {"title": "t"})
    journal.written("atom", 7, None)
    journal.written("topic", 99, {"name": "nobody knows"})
    journal.rows["topic", 99].uncertain = True
    with peopled.connect("test") as connection:
        connection.execute("INSERT INTO topics (name, description) VALUES ('kept', 'd')")
        if damage:
            connection.execute(damage)
    assert verify(peopled, journal, peopled.now()) == Verified((lost,) if lost else ())


def test_an_extraction_that_lost_its_parts_is_found_and_what_a_way_back_took_is_not_lost(peopled: Database) -> None:
    journal, since = Journal(), peopled.now()
    missing = "00000000-0000-4000-8000-000000000001"
    journal.extracted(
        {
            "run_id": missing,
            "mode": "dual_write",
            "topic_ids": [5],
            "atom_ids": [6],
            "topic_proposal_ids": [missing],
            "atom_proposal_ids": [],
        }
    )
    knowledge = (
        Lost("atom 6", "was acknowledged, and is not there"),
        Lost("topic 5", "was the answer of an extraction, and is not there"),
    )
    proposals = Lost(f"extraction {missing} (dual_write)", f"has lost its run, topic proposal {missing}")
    assert verify(peopled, journal, since) == Verified((*knowledge, proposals))
    with peopled.connect("test") as connection:
        audit.record(connection, "rollback dual write", "phase 2")
    assert verify(peopled, journal, since) == Verified(knowledge, taken_back=1)
    assert verify(peopled, journal, peopled.now()) == Verified((*knowledge, proposals))


def test_what_was_archived_is_not_lost_and_where_the_tables_are_gone_a_way_back_took_them(peopled: Database) -> None:
    journal, since = Journal(), peopled.now()
    run, other = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
    for one in (run, other):
        ids = {"topic_ids": [], "atom_ids": [], "topic_proposal_ids": [one], "atom_proposal_ids": []}
        journal.extracted({"run_id": one, "mode": "proposal", **ids})
    with peopled.connect("test") as connection:
        connection.execute(
            "INSERT INTO knowledge_extraction_archive (id, run, topic_proposals, atom_proposals) VALUES (%s, '{}', '[]', '[]')",
            [run],
        )
    assert [lost.what for lost in verify(peopled, journal, since).lost] == [f"extraction {other} (proposal)"]
    rollback_schema(peopled, LockLimits(), reason="a test", export_to=Path(mkdtemp()) / "export.jsonl")
    assert verify(peopled, journal, since) == Verified((), taken_back=2)


def test_a_stall_is_time_in_which_an_answer_was_owed() -> None:
    measured = Measurements()
    for due, ended in ((0.0, 0.1), (0.2, 1.0), (0.9, 1.1), (5.0, 5.1), (5.2, 5.3)):
        measured.answered("read", due, ended, "answered")
    assert [Stall(round(one.at_seconds, 6), round(one.seconds, 6)) for one in measured.stalls(0.5)] == [Stall(0.2, 0.8)]
    assert measured.stalls(1.0) == []


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0.0
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 3.0, 4.0]
