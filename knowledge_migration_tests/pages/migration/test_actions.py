"""What an admin does is done and audited; a reviewer, an ended session and a stale version are refused in words."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.api.access import ForbiddenError
from knowledge_migration.knowledge.errors import ConflictError, InvalidError, KnowledgeError, UnavailableError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.feed import MigrationSource
from knowledge_migration.pages.session import Session, SessionOverError
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, ServiceMaker, topic
from knowledge_migration_tests.pages.migration.conftest import source_of
from knowledge_migration_tests.support.conditions import becomes
from knowledge_migration_tests.support.unreachable import away

ADMIN = Session("admin", 3, "Ada", expires_at=None)
REVIEWER = Session("reviewer", 4, "Ruth")
ENDED = Session("admin", 3, "Ada", expires_at=1.0)
AUDIT = "SELECT actor, action, reason FROM migration.audit_log ORDER BY id DESC LIMIT %s"

Work = Callable[[Actions], Awaitable[Any]]
Doing = Callable[..., Any]


@pytest.fixture
def doing(make_service: ServiceMaker, source: MigrationSource) -> Doing:
    """Runs work with the actions of a session, while the service runs."""

    def run(work: Work, session: Session = ADMIN, answer: Any = None, **options: Any) -> Any:
        async def inside() -> Any:
            async with make_service(answer, **options).running() as service:
                return await work(Actions(service, source, session, lambda: None))

        return asyncio.run(inside())

    return run


@pytest.fixture
def promoted(source: MigrationSource) -> list[tuple[str, str, str]]:
    """What was launched; one that is too early fails."""
    launched: list[tuple[str, str, str]] = []

    def launch(stage: str, actor: str, reason: str) -> str | None:
        launched.append((stage, actor, reason))
        return "2 requirements are missing." if reason == "too early" else None

    object.__setattr__(source, "promote", launch)
    return launched


def entries(rows: Connection, most: int) -> list[tuple[Any, ...]]:
    """The newest entries of the audit log."""
    return [tuple(row.values()) for row in rows.execute(AUDIT, (most,)).fetchall()]


def test_an_admin_pauses_the_backfill_and_sets_its_pace_and_that_is_audited(doing: Doing, rows: Connection) -> None:
    async def work(actions: Actions) -> None:
        await actions.control_backfill(paused=True, reason=" too much load ")
        now = await actions.control_backfill(batch_size=500.0, rate=0)
        assert (now.paused, now.batch_size, now.rate_limit_per_second) == (True, 500, 0)

    doing(work)
    assert entries(rows, 2) == [
        ("admin on the page, user 3", "set backfill control", None),
        ("admin on the page, user 3", "set backfill control", "too much load"),
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_size": 0}, "1 to 50,000 rows, not 0"),
        ({"batch_size": 50_001}, "not 50,001"),
        ({"batch_size": 2.5}, "a whole number of rows"),
        ({"batch_size": float("nan")}, "a whole number of rows"),
        ({"rate": -1}, "not -1"),
        ({"rate": float("inf")}, "not inf"),
        ({"paused": True, "reason": "a\x00b"}, "cannot be stored"),
        ({"paused": True, "reason": "a" * 2_001}, "2,001 characters"),
    ],
)
def test_a_pace_that_cannot_be_is_refused_in_words(
    doing: Doing, rows: Connection, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidError, match=words):
        doing(lambda actions: actions.control_backfill(**given))
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 0


@pytest.mark.parametrize(("session", "refusal"), [(REVIEWER, ForbiddenError), (ENDED, SessionOverError)])
def test_a_reviewer_and_an_ended_session_change_nothing(
    doing: Doing, peopled: Database, rows: Connection, session: Session, refusal: type[KnowledgeError]
) -> None:
    stand_at(peopled, "gradual_rollout")
    deeds: tuple[Work, ...] = (
        lambda actions: actions.control_backfill(paused=True),
        lambda actions: actions.plan("instant"),
        lambda actions: actions.roll_back_flags("instant", reason="x", expected_version=1),
    )
    for deed in deeds:
        with pytest.raises(refusal):
            doing(deed, session)
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 1
    assert count(rows, "SELECT count(*) FROM migration.backfill_control WHERE paused") == 0


def test_a_reviewer_reads_the_whole_audit_trail_and_an_ended_session_does_not(doing: Doing, peopled: Database) -> None:
    stand_at(peopled, "dual_write")

    async def read(actions: Actions) -> Any:
        return await actions.older_entries(2**40, with_decisions=False)

    assert [entry.action for entry in doing(read, REVIEWER).entries] == ["set flags"]
    with pytest.raises(SessionOverError):
        doing(read, ENDED)


def test_the_plan_says_what_instant_would_change_and_strand(doing: Doing, peopled: Database) -> None:
    stand_at(peopled, "full_cutover")
    answer = Extraction(topics=(topic("sure", 0.9), topic("unsure", 0.4)))

    async def work(actions: Actions) -> None:
        await actions.service.extract([1], 1)
        plan = await actions.plan("instant")
        assert (plan.before.version, plan.changes) == (1, {"enabled": False})
        assert (plan.stranded.total, sum(plan.stranded.replayable.values())) == (2, 1)
        assert len(plan.processes) == 1

    doing(work, answer=answer)


def test_instant_is_applied_and_audited_and_its_stranded_proposals_are_settled(
    doing: Doing, peopled: Database, rows: Connection
) -> None:
    stand_at(peopled, "full_cutover")
    answer = Extraction(topics=(topic("sure", 0.9), topic("unsure", 0.4)))

    async def work(actions: Actions) -> None:
        await actions.service.extract([1], 1)
        done = await actions.roll_back_flags("instant", reason=" errors ", expected_version=1)
        assert (done.before.version, done.after.version, done.after.state, done.stranded) == (1, 2, "dual_write", 2)
        assert actions.service.watcher.flags.version == 2
        waiting = "SELECT count(*) FROM topic_proposals WHERE status = 'pending'"
        await becomes(lambda: count(rows, waiting) == 0)

    doing(work, answer=answer)
    actor = "admin on the page, user 3"
    told = rows.execute(
        "SELECT actor, action, reason FROM migration.audit_log WHERE action LIKE 'rollback %'"
    ).fetchall()
    assert [tuple(row.values()) for row in told] == [(actor, "rollback instant", "errors")]
    statuses = rows.execute("SELECT name, status FROM topic_proposals ORDER BY name").fetchall()
    assert [tuple(row.values()) for row in statuses] == [("sure", "auto_approved"), ("unsure", "parked")]


def test_a_rollback_whose_stranded_proposals_cannot_be_counted_is_no_failure(
    doing: Doing, peopled: Database, rows: Connection
) -> None:
    stand_at(peopled, "full_cutover")
    rows.execute("DROP TABLE atom_proposals CASCADE")

    async def work(actions: Actions) -> None:
        done = await actions.roll_back_flags("instant", reason="errors", expected_version=1)
        assert (done.after.version, done.after.enabled, done.stranded) == (2, False, None)

    doing(work)


def test_partial_leaves_10_percent_and_strands_nothing(doing: Doing, peopled: Database) -> None:
    stand_at(peopled, "gradual_rollout")

    async def work(actions: Actions) -> None:
        done = await actions.roll_back_flags("partial", reason="slow", expected_version=1)
        assert (done.after.cutover_percentage, done.after.enabled, done.stranded) == (10, True, 0)

    doing(work)


def test_a_version_that_somebody_has_changed_since_is_refused_and_changes_nothing(
    doing: Doing, peopled: Database, rows: Connection
) -> None:
    stand_at(peopled, "gradual_rollout")

    async def work(actions: Actions) -> None:
        plan = await actions.plan("instant")
        await asyncio.to_thread(stand_at, peopled, "full_cutover")
        with pytest.raises(ConflictError, match="version 2, not 1: somebody changed them"):
            await actions.roll_back_flags("instant", reason="x", expected_version=plan.before.version)

    doing(work)
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action LIKE 'rollback %'") == 0
    assert count(rows, "SELECT count(*) FROM feature_flags WHERE enabled") == 1


@pytest.mark.parametrize("reason", ["", "  \n", "a" * 2_001, "a\x00b", "\ud800"])
def test_a_reason_is_needed_and_must_be_storable(
    doing: Doing, peopled: Database, rows: Connection, reason: str
) -> None:
    stand_at(peopled, "gradual_rollout")
    with pytest.raises(InvalidError, match="Nothing was changed"):
        doing(lambda actions: actions.roll_back_flags("instant", reason=reason, expected_version=1))
    assert count(rows, "SELECT count(*) FROM feature_flags WHERE enabled") == 1


def test_partial_of_proposals_that_are_off_is_refused_in_words(doing: Doing, peopled: Database) -> None:
    stand_at(peopled, "dual_write")
    with pytest.raises(InvalidError, match="off already"):
        doing(lambda actions: actions.plan("partial"))
    with pytest.raises(InvalidError, match="off already"):
        doing(lambda actions: actions.roll_back_flags("partial", reason="x", expected_version=1))


def test_with_the_database_away_every_deed_says_so(doing: Doing, peopled: Database, server: EmbeddedServer) -> None:
    stand_at(peopled, "gradual_rollout")

    async def work(actions: Actions) -> None:
        with away(server, peopled):
            for deed in (
                actions.control_backfill(paused=True),
                actions.plan("instant"),
                actions.roll_back_flags("instant", reason="x", expected_version=1),
            ):
                with pytest.raises(UnavailableError):
                    await deed

    doing(work)


def test_before_phase_1_every_deed_says_so(database: Database) -> None:
    async def inside() -> None:
        service = KnowledgeService(ServiceOptions(database_url=database.url), FakeExtractor())
        async with service.running():
            actions = Actions(service, source_of(database), ADMIN, lambda: None)
            for deed in (
                actions.control_backfill(paused=True),
                actions.plan("instant"),
                actions.roll_back_flags("instant", reason="x", expected_version=0),
                actions.older_entries(9, with_decisions=True),
            ):
                with pytest.raises(UnavailableError, match="phase 1"):
                    await deed

    asyncio.run(inside())


def test_an_admin_sees_the_requirements_of_the_next_stage_and_their_verdicts_are_recorded(
    doing: Doing, peopled: Database, rows: Connection
) -> None:
    stand_at(peopled, "dual_write")
    ready = doing(lambda actions: actions.requirements("internal_beta"))

    assert "bake time" in [one.name for one in ready.missing]
    assert count(rows, "SELECT count(*) FROM migration.gate_evaluation WHERE stage = 'dual_write'") > 0


def test_a_promotion_is_launched_in_the_name_of_the_admin(doing: Doing, promoted: list[tuple[str, str, str]]) -> None:
    doing(lambda actions: actions.promote("internal_beta", " a calm day "))

    assert promoted == [("internal_beta", "admin on the page, user 3", "a calm day")]
    with pytest.raises(InvalidError, match="2 requirements are missing"):
        doing(lambda actions: actions.promote("internal_beta", "too early"))


@pytest.mark.parametrize("session", [REVIEWER, ENDED])
def test_nobody_else_launches_a_promotion(doing: Doing, promoted: list[tuple[str, str, str]], session: Session) -> None:
    for work in (
        lambda actions: actions.promote("internal_beta", "why"),
        lambda actions: actions.requirements("internal_beta"),
    ):
        with pytest.raises((ForbiddenError, SessionOverError)):
            doing(work, session)
    with pytest.raises(InvalidError, match="Give a reason"):
        doing(lambda actions: actions.promote("internal_beta", " "))
    assert promoted == []


def test_a_service_that_cannot_launch_a_promotion_names_the_command(doing: Doing) -> None:
    with pytest.raises(InvalidError, match="knowledge-migration cutover promote"):
        doing(lambda actions: actions.promote("internal_beta", "why"))
