"""The three modes of an extraction: what each writes, what fails how, and that nothing is ever half written."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.rows import tuple_row

from knowledge_migration.engine.backfill.completion import complete
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.errors import ExtractionFailedError, KnowledgeError, QueueFullError, UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction, ExtractionError
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.writing.runs import fail_abandoned_runs
from knowledge_migration.knowledge.writing.shadow import open_failures, open_rows, repair_next
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, count, until
from knowledge_migration_tests.knowledge.conftest import (
    FOUND,
    PEOPLE_AND_MESSAGES,
    FakeExtractor,
    ServiceMaker,
    atom,
    topic,
)
from knowledge_migration_tests.support.flags import DIRECT, DUAL, PROPOSAL


def run(service: KnowledgeService, work: Callable[[KnowledgeService], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with service.running():
            return await work(service)

    return asyncio.run(inside())


def extract(service: KnowledgeService, ids: tuple[int, ...] = (1, 2, 3), user: int | None = 1) -> Any:
    return run(service, lambda one: one.extract(ids, user))


def table(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query).fetchall()


def test_direct_mode_writes_what_it_always_did(make_service: ServiceMaker, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description, icon, color) VALUES ('known', 'as it is', 'X', '#000000')")
    written = extract(make_service(FOUND))
    assert (written.mode, written.proposed) == ("direct", None)
    assert table(rows, "SELECT id, name, description, color LIKE '#______' FROM topics ORDER BY id") == [
        (1, "known", "as it is", True),
        (2, "backups", "about backups", True),
    ]
    assert table(rows, "SELECT title, confidence, user_approved, meta::text FROM atoms ORDER BY id") == [
        ("restore them", 0.9, False, '{"source": "llm_extraction", "message_ids": [1]}'),
        ("test them", 0.99, False, '{"source": "llm_extraction", "message_ids": [1]}'),
    ]
    assert table(rows, "SELECT topic_id, atom_id, note FROM topic_atoms ORDER BY atom_id") == [
        (2, 1, "Extracted with confidence 0.90"),
        (2, 2, "Extracted with confidence 0.99"),
    ]
    assert table(rows, "SELECT from_atom_id, to_atom_id, link_type FROM atom_links") == [(1, 2, "supports")]
    assert table(rows, "SELECT id, topic_id FROM messages WHERE topic_id IS NOT NULL ORDER BY id") == [
        (1, 2),
        (2, 2),
        (3, 1),
    ]
    assert table(
        rows, "SELECT status, settings ->> 'mode', completed_at >= started_at FROM knowledge_extraction_runs"
    ) == [("completed", "direct", True)]
    assert count(rows, "SELECT count(*) FROM topic_proposals") == 0


def test_direct_mode_needs_no_phase_1(database: Database) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        written = extract(KnowledgeService(ServiceOptions(database_url=database.url), FakeExtractor(FOUND)))
        assert (written.run_id, len(written.topic_ids), len(written.atom_ids)) == (None, 2, 2)
        assert count(connection, "SELECT count(*) FROM topics") == 2


def test_extracting_again_makes_no_second_topic(make_service: ServiceMaker, rows: Connection) -> None:
    for flags in (DIRECT, DUAL, PROPOSAL):
        extract(make_service(FOUND, initial_flags=flags))
    assert table(rows, "SELECT name FROM topics ORDER BY name") == [("backups",), ("known",)]


def test_dual_write_proposes_everything_and_says_what_became_of_it(
    make_service: ServiceMaker, rows: Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('known', 'as it is')")
    written = extract(make_service(FOUND, initial_flags=DUAL))
    assert (written.mode, written.shadow_failed) == ("dual_write", False)
    assert table(
        rows,
        "SELECT p.name, p.status, p.review_action, p.similarity_type, p.similar_topic_id, p.entity_id, t.name "
        "FROM topic_proposals p LEFT JOIN topics t ON t.migrated_from_proposal_id = p.id ORDER BY p.name",
    ) == [
        ("backups", "auto_approved", "dual_write", None, None, 2, "backups"),
        ("known", "auto_approved", "dual_write", "exact", 1, None, None),
        ("weak", "pending", None, None, None, None, None),
    ]
    weak = rows.execute("SELECT id FROM topic_proposals WHERE name = 'weak'").fetchone()
    assert weak
    assert table(
        rows,
        "SELECT p.title, p.status, p.proposed_topic_ids, jsonb_array_length(p.proposed_links), a.title "
        "FROM atom_proposals p LEFT JOIN atoms a ON a.migrated_from_proposal_id = p.id ORDER BY p.title",
    ) == [
        ("of a weak topic", "pending", [str(weak["id"])], 0, None),
        ("restore them", "auto_approved", [2], 1, "restore them"),
        ("test them", "auto_approved", [2], 0, "test them"),
        ("unsure", "pending", [2], 0, None),
    ]
    for rule in rules.RULES:
        if rule.compares_values or "orphan" in rule.name or "dated" in rule.name:
            assert rules.evaluate(rows, rule).passed, rule.name


def test_proposal_mode_writes_no_knowledge_but_what_is_sure(make_service: ServiceMaker, rows: Connection) -> None:
    sure = Extraction(
        topics=(topic("sure", 0.97), topic("likely", 0.9)),
        atoms=(atom("sure too", "likely", 0.99), atom("sure three", "sure", 0.96)),
    )
    written = extract(make_service(sure, initial_flags=PROPOSAL))
    assert (len(written.approved), len(written.topic_ids), len(written.atom_ids)) == (3, 1, 2)
    assert table(
        rows, "SELECT name, status, review_action, reviewed_at IS NOT NULL FROM topic_proposals ORDER BY name"
    ) == [
        ("likely", "pending", None, False),
        ("sure", "auto_approved", "auto_approve", True),
    ]
    assert table(
        rows, "SELECT t.name, a.title FROM topic_atoms JOIN topics t ON t.id = topic_id JOIN atoms a ON a.id = atom_id"
    ) == [("sure", "sure three")]


def test_nothing_is_approved_at_once_where_that_is_switched_off(make_service: ServiceMaker, rows: Connection) -> None:
    flags = PROPOSAL.model_copy(update={"auto_approve_high_confidence": False})
    assert extract(make_service(Extraction(topics=(topic("sure", 1.0),)), initial_flags=flags)).approved == ()


def test_what_is_similar_but_not_of_the_same_name_is_never_approved_at_once(
    make_service: ServiceMaker, rows: Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('release notes', ''), ('exactly this', '')")
    found = Extraction(topics=(topic("release note", 1.0), topic("exactly this", 1.0)))
    extract(make_service(found, initial_flags=PROPOSAL))
    assert table(rows, "SELECT name, status, similarity_type, similar_topic_id FROM topic_proposals ORDER BY name") == [
        ("exactly this", "auto_approved", "exact", 2),
        ("release note", "pending", "spelling", 1),
    ]
    assert count(rows, "SELECT count(*) FROM topics") == 2


def test_what_waits_is_flagged_after_the_extraction(make_service: ServiceMaker, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('release notes', '')")
    flagged = "SELECT count(*) FROM topic_proposals WHERE similarity_type = 'spelling' AND similar_topic_id = 1"

    async def work(service: KnowledgeService) -> None:
        await service.extract((1,), 1)
        await asyncio.to_thread(until, rows, flagged)

    run(make_service(Extraction(topics=(topic("release note", 0.5),)), initial_flags=PROPOSAL), work)


BROKEN_SHADOWS = [
    "ALTER TABLE topic_proposals ADD CONSTRAINT nothing_fits CHECK (false) NOT VALID",
    "ALTER TABLE atom_proposals RENAME TO elsewhere",
    "ALTER TABLE topics DROP COLUMN migration_timestamp",
]


@pytest.mark.parametrize("damage", BROKEN_SHADOWS)
def test_a_shadow_that_fails_leaves_the_direct_result_and_is_kept(
    make_service: ServiceMaker, rows: Connection, damage: str
) -> None:
    rows.execute(damage)
    written = extract(make_service(FOUND, initial_flags=DUAL))
    assert written.shadow_failed
    assert (len(written.topic_ids), len(written.atom_ids)) == (2, 2)
    assert count(rows, "SELECT count(*) FROM atoms") == 2
    assert count(rows, "SELECT count(*) FROM migration.shadow_failure WHERE repaired_at IS NULL") == 1
    assert table(rows, "SELECT status, settings ->> 'shadow_failed' FROM knowledge_extraction_runs") == [
        ("completed", "1")
    ]


def test_a_shadow_that_takes_too_long_is_given_up(
    make_service: ServiceMaker, peopled: Database, rows: Connection
) -> None:
    with peopled.connect("a holder") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE topic_proposals IN SHARE ROW EXCLUSIVE MODE")
        assert extract(make_service(FOUND, initial_flags=DUAL, shadow_timeout_ms=200)).shadow_failed
    assert count(rows, "SELECT count(*) FROM atoms") == 2


def test_a_failed_shadow_is_repaired_as_dual_write_would_have_written_it(
    make_service: ServiceMaker, peopled: Database, rows: Connection
) -> None:
    rows.execute(BROKEN_SHADOWS[0])
    extract(make_service(FOUND, initial_flags=DUAL))
    rows.execute("ALTER TABLE topic_proposals DROP CONSTRAINT nothing_fits")
    rows.execute("DELETE FROM topic_atoms WHERE atom_id = 2; DELETE FROM atom_links; DELETE FROM atoms WHERE id = 2")
    with peopled.begin() as transaction:
        assert open_rows(transaction) == 3  # two topics and the atom that is left
    repaired = []
    for _ in range(2):
        with peopled.begin() as transaction:
            repaired.append(repair_next(transaction))
    assert repaired == [True, False]
    with peopled.begin() as transaction:
        assert open_failures(transaction) == open_rows(transaction) == 0
    assert table(rows, "SELECT title, status, entity_id FROM atom_proposals ORDER BY title") == [
        ("of a weak topic", "pending", None),
        ("restore them", "auto_approved", 1),
        ("unsure", "pending", None),
    ]
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0


def test_a_repair_proposes_nothing_that_is_linked_or_deleted(
    make_service: ServiceMaker, peopled: Database, rows: Connection
) -> None:
    rows.execute(BROKEN_SHADOWS[0])
    extract(make_service(FOUND, initial_flags=DUAL))
    rows.execute("ALTER TABLE topic_proposals DROP CONSTRAINT nothing_fits")
    rows.execute("DELETE FROM topic_atoms WHERE atom_id = 2; DELETE FROM atom_links; DELETE FROM atoms WHERE id = 2")
    complete(peopled, QUICK)
    with peopled.begin() as transaction:
        assert repair_next(transaction)
    again = "SELECT count(*) FROM atom_proposals WHERE title IN ('restore them', 'test them')"
    assert count(rows, again) == 1
    assert count(rows, "SELECT count(*) FROM topic_proposals WHERE status = 'pending'") == 1  # below the threshold
    assert count(rows, "SELECT count(*) FROM atom_proposals WHERE status = 'pending'") == 2


async def _raises(_: Any) -> Any:
    raise ExtractionError("The model is away.")


async def _breaks(_: Any) -> Any:
    raise RuntimeError("a secret")


async def _hangs(_: Any) -> Any:
    await asyncio.Event().wait()


FAILURES: tuple[tuple[Any, str], ...] = (
    (_raises, "The model is away"),
    (_breaks, "failed \\(RuntimeError\\)"),
    (_hangs, "did not answer within 0.2 s"),
    ({"topics": []}, "no extraction"),
    (Extraction(topics=(topic("foreign", 0.9, (99,)),)), "not given \\(99\\)"),
)


@pytest.mark.parametrize("flags", [DIRECT, DUAL, PROPOSAL])
def test_a_model_that_fails_writes_nothing_and_the_run_says_why(
    make_service: ServiceMaker, rows: Connection, flags: Flags
) -> None:
    for answer, words in FAILURES:
        limit = 0.2 if answer is _hangs else 60.0
        service = make_service(FakeExtractor(answer), initial_flags=flags, extraction_timeout_seconds=limit)
        with pytest.raises(ExtractionFailedError, match=words) as raised:
            extract(service)
        assert "secret" not in str(raised.value)
        runs = table(
            rows, "SELECT status, error_message FROM knowledge_extraction_runs ORDER BY started_at DESC LIMIT 1"
        )
        assert runs == [("failed", str(raised.value))]
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs") == len(FAILURES)
    for name in ("topics", "atoms", "topic_proposals", "atom_proposals"):
        assert count(rows, f"SELECT count(*) FROM {name}") == 0  # noqa: S608


@pytest.mark.parametrize(("ids", "user"), [((1, 9999), 1), ((1,), 9999)])
def test_what_does_not_exist_is_named_and_the_model_is_not_asked(
    make_service: ServiceMaker, rows: Connection, ids: tuple[int, ...], user: int
) -> None:
    told = FakeExtractor(FOUND)
    with pytest.raises(UnknownError, match="9999"):
        extract(make_service(told), ids, user)
    assert told.asked == []
    assert table(rows, "SELECT status FROM knowledge_extraction_runs") == [("failed",)]


def test_a_full_queue_refuses_before_the_model_is_asked_and_lets_in_again(
    make_service: ServiceMaker, rows: Connection
) -> None:
    told = FakeExtractor(Extraction(topics=(topic("a", 0.5), topic("b", 0.5))))
    extract(make_service(told, initial_flags=PROPOSAL))
    with pytest.raises(QueueFullError) as refused:
        extract(make_service(told, initial_flags=PROPOSAL, queue_limit=2))
    assert refused.value.retry_after_seconds == 60
    assert len(told.asked) == 1
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs") == 1
    rows.execute("UPDATE topic_proposals SET status = 'rejected'")
    assert extract(make_service(told, initial_flags=PROPOSAL, queue_limit=2)).mode == "proposal"


def test_a_full_queue_does_not_stop_direct_writes(make_service: ServiceMaker, rows: Connection) -> None:
    extract(make_service(Extraction(topics=(topic("a", 0.5),)), initial_flags=PROPOSAL))
    assert extract(make_service(FOUND, initial_flags=DUAL, queue_limit=1)).mode == "dual_write"


def test_no_two_extractions_are_let_in_on_one_place(make_service: ServiceMaker, rows: Connection) -> None:
    entered, released = 0, asyncio.Event()

    async def slow(_: Any) -> Extraction:
        nonlocal entered
        entered += 1
        await released.wait()
        return Extraction(topics=(topic(f"t{entered}", 0.5),))

    async def work(service: KnowledgeService) -> list[Any]:
        jobs = [asyncio.create_task(service.extract((number,), 1)) for number in range(1, 31)]
        while sum(job.done() for job in jobs) < 26:  # the refused ones; the others still hold their places
            await asyncio.wait([job for job in jobs if not job.done()], return_when=asyncio.FIRST_COMPLETED)
        released.set()
        return await asyncio.gather(*jobs, return_exceptions=True)

    service = make_service(FakeExtractor(slow), initial_flags=PROPOSAL, queue_limit=20, queue_places_per_message=5)
    results = run(service, work)
    assert entered == 4
    assert sum(isinstance(one, QueueFullError) for one in results) == 26


def test_the_places_of_a_process_that_is_gone_become_free(
    make_service: ServiceMaker, peopled: Database, rows: Connection
) -> None:
    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, settings, started_at) VALUES "
        """('running', '[1]', 1, '{"process": "gone", "reserved": 50}', now() - interval '1 hour')"""
    )
    with peopled.begin() as transaction:
        assert fail_abandoned_runs(transaction, 30) == 1
    assert extract(make_service(FOUND, initial_flags=PROPOSAL, queue_limit=50)).mode == "proposal"


@pytest.mark.parametrize("flags", [DIRECT, DUAL, PROPOSAL])
def test_fifty_at_once_of_the_same_messages_all_succeed(
    make_service: ServiceMaker, rows: Connection, flags: Flags
) -> None:
    async def work(service: KnowledgeService) -> list[Any]:
        return await asyncio.gather(*(service.extract((1, 2, 3), 1) for _ in range(50)))

    results = run(make_service(FOUND, initial_flags=flags, queue_limit=100_000), work)
    assert len(results) == 50
    assert not any(one.shadow_failed for one in results)
    assert count(rows, "SELECT count(*) - count(DISTINCT name) FROM topics") == 0


def test_a_change_of_flags_while_the_model_works_is_obeyed(
    make_service: ServiceMaker, peopled: Database, rows: Connection
) -> None:
    async def switch(_: Any) -> Extraction:
        def change(connection: sa.Connection) -> None:
            set_flags(connection, {"dual_write": True}, initial=Flags(), actor="test", reason="meanwhile")

        def in_transaction() -> None:
            with peopled.begin() as transaction:
                change(transaction)

        await asyncio.to_thread(in_transaction)
        return FOUND

    assert extract(make_service(FakeExtractor(switch))).mode == "dual_write"
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0


def test_a_process_that_has_missed_a_change_obeys_it_all_the_same(
    make_service: ServiceMaker, peopled: Database
) -> None:
    with peopled.begin() as transaction:
        set_flags(transaction, {"dual_write": True}, initial=Flags(), actor="test", reason="before")

    async def work(service: KnowledgeService) -> Any:
        service.watcher.flags = Flags()
        return await service.extract((1, 2, 3), 1)

    assert run(make_service(FOUND), work).mode == "dual_write"


def test_when_the_table_of_the_flags_is_gone_the_last_known_ones_are_obeyed(
    make_service: ServiceMaker, peopled: Database, rows: Connection
) -> None:
    with peopled.begin() as transaction:
        set_flags(transaction, {"cutover_percentage": 1}, initial=Flags(), actor="test", reason="before")

    async def work(service: KnowledgeService) -> Any:
        assert service.watcher.flags.version == 1
        await asyncio.to_thread(rows.execute, "DROP TABLE feature_flags")
        return await service.extract((1, 2, 3), 1)

    assert run(make_service(FOUND), work).mode == "direct"


def test_all_errors_are_of_one_family() -> None:
    assert all(issubclass(error, KnowledgeError) for error in (ExtractionFailedError, QueueFullError, UnknownError))
