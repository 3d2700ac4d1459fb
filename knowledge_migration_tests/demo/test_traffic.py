"""The traffic tells what users got, and finds every acknowledged write that is not there, changed, or back again."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from knowledge_migration.demo.traffic.report import Measurements, Stall, TrafficReport, percentile
from knowledge_migration.demo.traffic.run import TrafficOptions, run_traffic
from knowledge_migration.demo.traffic.users import WEIGHTS, FailedError, InjectedError, Users, weights
from knowledge_migration.demo.traffic.verification import Journal, Lost, Verified, verify
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flag_rollback import FlagRollbackResult
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import FenceSettings, SchemaChangeSettings, Settings
from knowledge_migration_tests.engine.cutover.stages_reached import set_, stand_at
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving


def traffic(database: Database, url: str, **options: Any) -> TrafficReport:
    given = {"requests_per_second": 60.0, **options}
    return asyncio.run(run_traffic(TrafficOptions(url, database, **given), asyncio.Event()))


@pytest.mark.parametrize("flags", [Flags(), Flags(dual_write=True), Flags(enabled=True, cutover_percentage=100)])
def test_nothing_is_lost_in_any_mode(peopled: Database, flags: Flags) -> None:
    with serving(peopled, initial_flags=flags, queue_limit=100_000) as url:
        report = traffic(peopled, url, seconds=1.5)
    assert (report.failed, report.failures, report.lost) == (0, (), ())
    assert report.passed
    assert report.requests == 90
    assert report.acknowledged_writes > 10
    assert {latency.operation for latency in report.latencies} >= {"all", "extract", "edit_atom", "delete_atom"}


def test_it_works_before_phase_1(database: Database) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    with serving(database) as url:
        assert traffic(database, url, seconds=1.0).passed


def test_a_full_queue_is_an_answer_and_no_failure(peopled: Database) -> None:
    with serving(peopled, initial_flags=Flags(enabled=True, cutover_percentage=100), queue_limit=1) as url:
        report = traffic(peopled, url, seconds=1.0)
    assert report.refused > 0
    assert report.passed


def test_a_service_that_fails_is_no_success(peopled: Database) -> None:
    class Failing:
        name = "failing"

        async def extract(self, messages: Any) -> Extraction:
            raise RuntimeError

    with serving(peopled, Failing()) as url:
        report = traffic(peopled, url, seconds=1.0)
    assert report.failed > 0
    assert not report.passed
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


def test_an_extraction_that_lost_its_parts_is_found_and_what_a_rollback_removed_is_not_lost(peopled: Database) -> None:
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
    assert verify(peopled, journal, since) == Verified(knowledge, rolled_back=1)
    assert verify(peopled, journal, peopled.now()) == Verified((*knowledge, proposals))


RUN, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


def extraction(run: str, *proposals: str) -> dict[str, Any]:
    """The answer to an extraction that has proposed these topics and nothing else."""
    nothing: dict[str, Any] = {"topic_ids": [], "atom_ids": [], "atom_proposal_ids": []}
    return {"run_id": run, "mode": "proposal", "topic_proposal_ids": list(proposals), **nothing}


def test_what_was_archived_is_not_lost_but_what_the_archive_lacks_is(peopled: Database) -> None:
    journal, since = Journal(), peopled.now()
    journal.extracted(extraction(RUN, RUN, OTHER))
    with peopled.connect("test") as connection:
        connection.execute(
            "INSERT INTO knowledge_extraction_archive (id, run, topic_proposals, atom_proposals) "
            "VALUES (%s, '{}', jsonb_build_array(jsonb_build_object('id', %s::text)), '[]')",
            [RUN, RUN],
        )
        lost = Lost(f"extraction {RUN} (proposal)", f"has lost topic proposal {OTHER}")
        assert verify(peopled, journal, since) == Verified((lost,))
        connection.execute("UPDATE knowledge_extraction_archive SET atom_proposals = %s", [f'[{{"id": "{OTHER}"}}]'])
    assert verify(peopled, journal, since) == Verified(())


def test_where_the_tables_are_gone_a_rollback_removed_them(peopled: Database, tmp_path: Path) -> None:
    journal, since = Journal(), peopled.now()
    for one in (RUN, OTHER):
        journal.extracted(extraction(one, one))
    rollback_schema(peopled, SchemaChangeSettings(), reason="a test", export_to=tmp_path / "export.jsonl")
    assert verify(peopled, journal, since) == Verified((), rolled_back=2)


@pytest.mark.parametrize(
    ("action", "rolled_back"),
    [
        ("rollback dual write", 1),
        ("rollback dual write begun", 1),
        ("rollback backfill", 1),
        ("rollback schema begun", 1),
        ("rollback schema", 1),
        ("rollback instant", 0),
        ("rollback partial", 0),
        ("guard lower threshold", 0),
        ("archive extractions", 0),
    ],
)
def test_only_a_rollback_that_deletes_proposals_excuses_that_they_are_gone(
    peopled: Database, action: str, rolled_back: int
) -> None:
    journal, since = Journal(), peopled.now()
    journal.extracted(extraction(RUN, RUN))
    with peopled.connect("test") as connection:
        audit.record(connection, action, "a subject")
    found = verify(peopled, journal, since)
    assert (found.rolled_back, len(found.lost)) == (rolled_back, 1 - rolled_back)


def test_proposals_that_a_rollback_by_flags_replays_or_parks_are_not_lost(peopled: Database) -> None:
    stand_at(peopled, "full_cutover")
    set_(peopled, auto_approve_high_confidence=False)
    gone_back: list[FlagRollbackResult] = []
    enough = 0

    async def run(url: str) -> TrafficReport:
        stop = asyncio.Event()

        def go_back_once(measured: Measurements) -> None:
            nonlocal enough
            if not gone_back and measured.statuses["extract", "answered"] >= 10:
                gone_back.append(
                    roll_back(peopled, Flags(), Settings(fence=FenceSettings(seconds=20)), "instant", reason="a test")
                )
                enough = measured.requests + 30
            if gone_back and measured.requests >= enough:
                stop.set()

        options = TrafficOptions(url, peopled, requests_per_second=30.0, extract_share=0.5)
        return await run_traffic(options, stop, on_progress=go_back_once)

    with serving(peopled, queue_limit=100_000) as url:
        report = asyncio.run(run(url))
    (done,) = gone_back
    assert sum(done.settled.replayed.values()) + sum(done.settled.parked.values()) > 0
    assert (report.failed, report.lost, report.rolled_back) == (0, (), 0)


def test_injected_faults_are_counted_apart_and_are_no_failures(peopled: Database) -> None:
    flags = Flags(enabled=True, cutover_percentage=100)
    with serving(peopled, initial_flags=flags, queue_limit=100_000, allow_faults=True) as url:
        fault = {"mode": "proposal", "share": 1, "seconds": 60}
        httpx.post(f"{url}/api/v1/admin/faults", json=fault).raise_for_status()
        report = traffic(peopled, url, seconds=1.0, extract_share=0.5)
    by_operation = {one.operation: one for one in report.latencies}
    assert report.injected == by_operation["all"].injected == by_operation["extract"].injected > 10
    assert by_operation["extract"].injected == by_operation["extract"].requests
    assert (report.failed, report.failures, report.lost) == (0, (), ())
    assert report.passed
    assert f"0 failed ({report.injected} more were injected)" in report.sentence
    assert report.to_json()["injected"] == report.injected
    column = next(one for one in report.table().columns if one.header == "injected")
    assert next(iter(column.cells)) == str(report.injected)


@pytest.mark.parametrize(
    ("status", "content", "ended"),
    [
        (500, b'{"title": "x", "detail": "Injected fault: on purpose."}', InjectedError),
        (500, b'{"title": "Injected fault", "detail": "A user wrote \\"Injected fault\\"."}', FailedError),
        (503, b'{"detail": "Injected fault"}', FailedError),
        (500, b"Injected fault", FailedError),
        (500, b'["Injected fault"]', FailedError),
        (500, b"\xff", FailedError),
    ],
)
def test_only_a_server_error_whose_detail_says_so_is_on_purpose(
    status: int, content: bytes, ended: type[Exception]
) -> None:
    async def ask() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            await Users(client, Journal(), [1], [1], seed=1).do("extract")

    with pytest.raises(ended):
        asyncio.run(ask())


def test_the_share_of_extractions_is_what_was_asked_for_and_the_others_keep_their_proportions() -> None:
    assert weights() == WEIGHTS
    given = weights(0.7)
    assert given["extract"] == 0.7
    assert sum(given.values()) == pytest.approx(1)
    assert given["read_topic"] / given["delete_atom"] == pytest.approx(14 / 6)
    assert weights(1.0) == {operation: float(operation == "extract") for operation in WEIGHTS}


def test_only_extractions_are_asked_for_where_their_share_is_all(peopled: Database) -> None:
    with serving(peopled) as url:
        report = traffic(peopled, url, seconds=0.5, extract_share=1.0)
    assert [one.operation for one in report.latencies] == ["all", "extract"]
    assert report.passed


def test_a_stall_is_time_in_which_an_answer_was_owed() -> None:
    measured = Measurements()
    for due, ended in ((0.0, 0.1), (0.2, 1.0), (0.9, 1.1), (5.0, 5.1), (5.2, 5.3)):
        measured.answered("read", due, ended, "answered")
    assert [Stall(round(one.at_seconds, 6), round(one.seconds, 6)) for one in measured.stalls(0.5)] == [Stall(0.2, 0.8)]
    assert measured.stalls(1.0) == []


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0.0
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 3.0, 4.0]
