"""The session of a reviewer without a browser: the open proposal, the next one, actions and their messages."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.pages.review.filters import Filters
from knowledge_migration.pages.review.review_session import LONGEST_LIST, PAGE, Outcome, ReviewSession
from knowledge_migration.pages.session import Session
from knowledge_migration_tests.knowledge.conftest import FakeExtractor
from knowledge_migration_tests.pages.waiting import waiting_proposals

ANNA, BEN = Session("reviewer", 1, "Anna"), Session("reviewer", 2, "Ben")
ENDED = Session("reviewer", 1, "Anna", expires_at=1.0)
Work = Callable[..., Awaitable[Any]]


@pytest.fixture
def rows(expanded: Database) -> Iterator[Connection]:
    """A connection to a database with forty pending topics and three pending atoms."""
    waiting_proposals(expanded, topics=40)
    with expanded.connect("test") as connection:
        yield connection


def with_reviewers(database: Database, work: Work, *sessions: Session) -> Any:
    """Runs work with a loaded review session for each session, on one service."""

    async def inside() -> Any:
        async with KnowledgeService(
            ServiceOptions(database_url=database.url, measurement_seconds=60), FakeExtractor()
        ).running() as service:
            reviews = [ReviewSession(service, session) for session in sessions or (ANNA,)]
            for review_session in reviews:
                await review_session.load()
                await review_session.open(review_session.items[0]["id"])
            return await work(*reviews)

    return asyncio.run(inside())


def label(review_session: ReviewSession) -> str:
    """The label of the open proposal."""
    assert review_session.current
    return str(review_session.current.proposal.get("name") or review_session.current.proposal.get("title"))


def id_of(rows: Connection, name: str) -> UUID:
    """The id of a proposal by name."""
    row = rows.execute("SELECT id FROM topic_proposals WHERE name = %s", (name,)).fetchone()
    assert row
    proposal_id: UUID = row["id"]
    return proposal_id


def status(rows: Connection, name: str) -> str:
    """The status of a proposal."""
    row = rows.execute("SELECT status FROM topic_proposals WHERE name = %s", (name,)).fetchone()
    assert row
    return str(row["status"])


def test_the_next_one_is_fetched_ahead_and_opened_without_the_database(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> None:
        assert review_session.current_id
        await review_session.prefetch()
        outcome = await review_session.decide("approve", review_session.current_id)
        assert outcome.next_id
        await review_session.service.engine.dispose()
        rows.execute("ALTER TABLE topic_proposals RENAME TO hidden")
        try:
            await review_session.open(outcome.next_id)
        finally:
            rows.execute("ALTER TABLE hidden RENAME TO topic_proposals")
        assert label(review_session) == "Topic 2"

    with_reviewers(expanded, work)


def test_a_decision_applies_to_the_proposal_it_names_and_not_to_the_open_one(
    expanded: Database, rows: Connection
) -> None:
    async def work(review_session: ReviewSession) -> None:
        await review_session.decide("reject", id_of(rows, "Topic 5"), notes="not this")
        assert label(review_session) == "Topic 1"

    with_reviewers(expanded, work)
    assert (status(rows, "Topic 1"), status(rows, "Topic 5")) == ("pending", "rejected")


def test_the_list_grows_before_it_is_empty_and_nothing_comes_twice(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> list[str]:
        seen = []
        while review_session.current:
            seen.append(label(review_session))
            assert review_session.current_id
            outcome = await review_session.decide(
                "approve" if len(seen) % 2 else "reject", review_session.current_id, notes="why"
            )
            assert outcome.is_done
            await review_session.refill()
            assert len(review_session.items) <= LONGEST_LIST
            if outcome.next_id is None:
                return seen
            await review_session.open(outcome.next_id)
        return seen

    seen = with_reviewers(expanded, work)
    assert seen == [f"Topic {n}" for n in range(1, 41)] + ["Atom 1", "Atom 2", "Atom 3"]
    assert len(seen) > PAGE


def test_a_skipped_proposal_stays_in_the_list_and_is_passed_over(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> None:
        assert review_session.current_id
        first = review_session.current_id
        following = review_session.skip(first).next_id
        assert following == id_of(rows, "Topic 2")
        await review_session.open(following)
        assert review_session.neighbour(following, -1) == first
        await review_session.load()
        assert not review_session.skipped

    with_reviewers(expanded, work)
    assert status(rows, "Topic 1") == "pending"


@pytest.mark.parametrize(
    ("second", "options"),
    [("approve", {"changes": {"name": "Ben's name"}}), ("reject", {}), ("merge", {"into_entity_id": 1})],
)
def test_the_second_of_two_reviewers_learns_the_first_decision_and_changes_nothing(
    expanded: Database, rows: Connection, second: Any, options: dict[str, Any]
) -> None:
    async def work(anna: ReviewSession, ben: ReviewSession) -> Outcome:
        assert anna.current_id == ben.current_id
        assert anna.current_id
        assert (await anna.decide("approve", anna.current_id)).is_done
        return await ben.decide(second, anna.current_id, notes="no", **options)

    outcome = with_reviewers(expanded, work, ANNA, BEN)
    assert outcome.result == "decided before"
    assert (outcome.decided.by, outcome.decided.status) == ("user 1", "approved")
    assert status(rows, "Topic 1") == "approved"


def test_undo_reverts_the_last_decision_of_this_reviewer_also_after_a_reload(
    expanded: Database, rows: Connection
) -> None:
    async def decide(anna: ReviewSession, ben: ReviewSession) -> None:
        await anna.decide("reject", id_of(rows, "Topic 1"), notes="why")
        await ben.decide("reject", id_of(rows, "Topic 2"), notes="why")

    async def undo(anna: ReviewSession) -> None:
        (taken,) = await anna.undo_last()
        assert taken[0] == id_of(rows, "Topic 1")
        assert taken[1].is_done

    with_reviewers(expanded, decide, ANNA, BEN)
    with_reviewers(expanded, undo, ANNA)
    assert (status(rows, "Topic 1"), status(rows, "Topic 2")) == ("pending", "rejected")


def test_one_undo_reverts_all_of_a_bulk_action(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> None:
        ids = [item["id"] for item in review_session.items[:3]]
        for one in ids:
            await review_session.decide("reject", one, notes="why")
        review_session.remember(*ids)
        assert [outcome.is_done for _, outcome in await review_session.undo_last()] == [True] * 3
        assert review_session.decisions == []

    with_reviewers(expanded, work)
    assert {status(rows, f"Topic {n}") for n in (1, 2, 3)} == {"pending"}


def test_undo_keeps_a_later_decision_of_another_reviewer(expanded: Database, rows: Connection) -> None:
    async def work(anna: ReviewSession, ben: ReviewSession) -> list[tuple[UUID, Outcome]]:
        first, second = id_of(rows, "Topic 1"), id_of(rows, "Topic 2")
        for one in (first, second):
            await anna.decide("reject", one, notes="why")
            anna.remember(one)
        await ben.decide("undo", second)
        await ben.decide("approve", second)
        return [*await anna.undo_last(), *await anna.undo_last()]

    (_, not_mine), (_, mine) = with_reviewers(expanded, work, ANNA, BEN)
    assert (not_mine.result, not_mine.message) == (
        "refused",
        "The proposal was decided about since, by reviewer on the page, user 2; that decision stays. It is in the history.",
    )
    assert mine.is_done
    assert (status(rows, "Topic 1"), status(rows, "Topic 2")) == ("pending", "approved")


def test_two_concurrent_undos_revert_two_decisions(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> None:
        for name in ("Topic 1", "Topic 2", "Topic 3"):
            await review_session.decide("reject", id_of(rows, name), notes="why")
            review_session.remember(id_of(rows, name))
        await asyncio.gather(review_session.undo_last(), review_session.undo_last())

    with_reviewers(expanded, work)
    assert [status(rows, f"Topic {n}") for n in (1, 2, 3)] == ["rejected", "pending", "pending"]


def test_an_unidentified_reviewer_can_undo_only_decisions_of_the_same_page(
    expanded: Database, rows: Connection
) -> None:
    async def work(here: ReviewSession, elsewhere: ReviewSession) -> list[tuple[UUID, Outcome]]:
        here.service.options = here.service.options.replaced(reviewer_token="a token of reviewers")
        await here.decide("reject", id_of(rows, "Topic 1"), notes="why")
        return await elsewhere.undo_last()

    assert with_reviewers(expanded, work, Session("reviewer"), Session("reviewer")) == []
    assert status(rows, "Topic 1") == "rejected"


def test_a_refresh_does_not_replace_a_proposal_that_was_opened_meanwhile(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> None:
        await review_session.prefetch()
        await asyncio.gather(review_session.refresh(), review_session.open(id_of(rows, "Topic 2")))
        assert label(review_session) == "Topic 2"

    with_reviewers(expanded, work)


def test_a_reason_that_cannot_be_stored_is_refused_with_a_message(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> Outcome:
        assert review_session.current_id
        return await review_session.decide("reject", review_session.current_id, notes="a \x00 of C")

    assert with_reviewers(expanded, work) == Outcome("refused", "The reason must not hold a NUL character.")


def test_an_ended_session_decides_nothing(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> Outcome:
        assert review_session.current_id
        return await review_session.decide("approve", review_session.current_id)

    outcome = with_reviewers(expanded, work, ENDED)
    assert (outcome.result, outcome.message.split(";")[0]) == ("failed", "Your session has ended")
    assert status(rows, "Topic 1") == "pending"


def test_impossible_decisions_are_refused_with_a_message(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> list[Outcome]:
        assert review_session.current_id
        return [
            await review_session.decide("approve", uuid4()),
            await review_session.decide("merge", review_session.current_id, into_entity_id=4_711),
            await review_session.decide("approve", review_session.current_id, changes={"name": " "}),
            await review_session.decide("undo", review_session.current_id),
        ]

    outcomes = with_reviewers(expanded, work)
    assert [outcome.result for outcome in outcomes] == ["refused"] * 4
    assert "4711" in outcomes[1].message
    assert "name" in outcomes[2].message
    assert status(rows, "Topic 1") == "pending"


def test_counts_follow_the_filters_and_the_decisions(expanded: Database, rows: Connection) -> None:
    async def work(review_session: ReviewSession) -> None:
        assert await review_session.count() == {"topic": 40, "atom": 3}
        await review_session.decide("reject", id_of(rows, "Topic 1"), notes="why")
        assert review_session.counts == {"topic": 39, "atom": 3}
        review_session.filters = Filters(kind="atom", text="number 2.")
        await review_session.load()
        assert [item["title"] for item in review_session.items] == ["Atom 2"]
        assert await review_session.count() == {"atom": 1}

    with_reviewers(expanded, work)


def test_undo_returns_an_approval_to_the_queue_and_names_what_keeps_an_edited_row(
    expanded: Database, rows: Connection
) -> None:
    async def work(review_session: ReviewSession) -> list[Outcome]:
        for name in ("Topic 1", "Topic 3"):
            await review_session.decide("approve", id_of(rows, name))
        review_session.remember(id_of(rows, "Topic 1"), id_of(rows, "Topic 3"))
        rows.execute("UPDATE topics SET description = 'edited' WHERE name = 'Topic 3'")
        return [outcome for _, outcome in await review_session.undo_last()]

    edited, undone = with_reviewers(expanded, work)
    assert (edited.result, "has changed its description" in edited.message) == ("refused", True)
    assert (undone.is_done, undone.message.endswith("It is waiting for review again.")) == (True, True)
    assert (status(rows, "Topic 1"), status(rows, "Topic 3")) == ("pending", "approved")
