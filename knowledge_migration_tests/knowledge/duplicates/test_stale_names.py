"""Others write while names are held in memory: no wrong id is ever returned, and what is missing comes back."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import Candidate, DuplicateOptions, Similar
from knowledge_migration.knowledge.entity_kinds import TOPIC
from knowledge_migration.knowledge.tables import topics
from knowledge_migration_tests.knowledge.duplicates.rows import add_topic


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Time zero."""
    return Clock()


@pytest.fixture
def finder(clock: Clock) -> DuplicateFinder:
    """A finder that compares everything each 300 seconds."""
    return DuplicateFinder(DuplicateOptions(full_refresh_seconds=300), clock=clock)


def ask(finder: DuplicateFinder, session: sa.Connection, *names: str) -> list[Similar | None]:
    """What the finder says to topics of these names."""
    return finder.similar(session, TOPIC, [Candidate(name, "") for name in names])


def rename(engine: sa.Engine, id: int, name: str) -> None:
    """Another session renames a topic."""
    with engine.connect() as other:
        other.execute(topics.update().where(topics.c.id == id).values(name=name))


def test_a_topic_that_another_session_inserted_is_found_at_once(
    finder: DuplicateFinder, session: sa.Connection, engine: sa.Engine
) -> None:
    assert ask(finder, session, "message queue") == [None]
    with engine.connect() as other:
        id = add_topic(other, "Message Queue")
    assert ask(finder, session, "message queue") == [Similar(id, 0.99, "spelling")]


def test_a_deleted_topic_is_not_named(finder: DuplicateFinder, session: sa.Connection, engine: sa.Engine) -> None:
    id = add_topic(session, "Message Queue")
    assert ask(finder, session, "message queue") != [None]
    with engine.connect() as other:
        other.execute(topics.delete().where(topics.c.id == id))
    assert ask(finder, session, "message queue") == [None]


def test_a_renamed_topic_is_not_named_for_its_old_name(
    finder: DuplicateFinder, session: sa.Connection, engine: sa.Engine
) -> None:
    id = add_topic(session, "Message Queue")
    ask(finder, session, "message queue")
    rename(engine, id, "Gardening")
    assert ask(finder, session, "message queue") == [None]


def test_two_topics_that_exchange_their_names_are_not_confused(
    finder: DuplicateFinder, session: sa.Connection, engine: sa.Engine, clock: Clock
) -> None:
    one, other = add_topic(session, "Message Queue"), add_topic(session, "Gardening")
    ask(finder, session, "message queue")
    rename(engine, one, "between")
    rename(engine, other, "Message Queue")
    rename(engine, one, "Gardening")
    assert ask(finder, session, "message queue", "GARDENING") == [None, None]
    clock.now = 300
    assert ask(finder, session, "message queue", "GARDENING") == [
        Similar(other, 0.99, "spelling"),
        Similar(one, 0.99, "spelling"),
    ]


def test_a_rename_that_keeps_the_name_alike_is_scored_as_it_is_now(
    finder: DuplicateFinder, session: sa.Connection, engine: sa.Engine
) -> None:
    id = add_topic(session, "Message Queue")
    ask(finder, session, "message queue")
    rename(engine, id, "Message-Queue")
    assert ask(finder, session, "message queue") == [Similar(id, 0.98, "spelling")]


def test_a_new_name_is_exact_at_once_and_alike_after_the_next_comparison(
    finder: DuplicateFinder, session: sa.Connection, engine: sa.Engine, clock: Clock
) -> None:
    id = add_topic(session, "Gardening")
    ask(finder, session, "anything")
    rename(engine, id, "Message Queue")
    assert ask(finder, session, "Message Queue", "message queue") == [Similar(id, 1.0, "exact"), None]
    clock.now = 300
    assert ask(finder, session, "message queue") == [Similar(id, 0.99, "spelling")]


def test_a_lower_id_that_was_committed_later_is_found_after_the_next_comparison(
    finder: DuplicateFinder, session: sa.Connection, clock: Clock
) -> None:
    add_topic(session, "Gardening", id=5_000)
    ask(finder, session, "anything")
    late = add_topic(session, "Message Queue", id=10)
    clock.now = 299
    assert ask(finder, session, "message queue") == [None]
    clock.now = 300
    assert ask(finder, session, "message queue") == [Similar(late, 0.99, "spelling")]


def test_a_topic_whose_insertion_was_rolled_back_is_not_named(
    finder: DuplicateFinder, session: sa.Connection, expanded: Database
) -> None:
    ask(finder, session, "anything")
    transactional = sa.create_engine(session.engine.url)
    with transactional.connect() as writer:
        id = add_topic(writer, "Message Queue")
        assert ask(finder, writer, "message queue") == [Similar(id, 0.99, "spelling")]
        writer.rollback()
    transactional.dispose()
    assert ask(finder, session, "message queue") == [None]


def test_beyond_the_most_names_only_exact_ones_are_found_with_one_warning(
    session: sa.Connection, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    finder = DuplicateFinder(DuplicateOptions(most_names_held=2, full_refresh_seconds=300), clock=clock)
    first = [add_topic(session, name) for name in ("Message Queue", "Gardening")]
    assert ask(finder, session, "message queue") == [Similar(first[0], 0.99, "spelling")]
    add_topic(session, "One more")
    with caplog.at_level(logging.WARNING):
        assert ask(finder, session, "message queue", "Gardening") == [None, Similar(first[1], 1.0, "exact")]
        clock.now = 300
        assert ask(finder, session, "message queue") == [None]
    assert [record.message for record in caplog.records] == [
        "topics has more than 2 names, the limit for memory: meaning is not searched, and similar spelling only with "
        "a trigram index on topics.name (pg_trgm). Create one, or raise most_names_held"
    ]


def test_names_are_held_again_when_they_are_few_enough(session: sa.Connection, clock: Clock) -> None:
    finder = DuplicateFinder(DuplicateOptions(most_names_held=1, full_refresh_seconds=300), clock=clock)
    kept, gone = add_topic(session, "Message Queue"), add_topic(session, "Gardening")
    assert ask(finder, session, "message queue") == [None]
    session.execute(topics.delete().where(topics.c.id == gone))
    clock.now = 300
    assert ask(finder, session, "message queue") == [Similar(kept, 0.99, "spelling")]


def test_threads_share_one_finder(finder: DuplicateFinder, engine: sa.Engine, session: sa.Connection) -> None:
    ids = [add_topic(session, f"Subject {word}") for word in ("alpha", "beta", "gamma", "delta")]

    def search(name: str) -> Sequence[Similar | None]:
        with engine.connect() as own:
            return ask(finder, own, name)

    wanted = ["SUBJECT ALPHA", "SUBJECT BETA", "SUBJECT GAMMA", "SUBJECT DELTA"] * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(search, wanted)) == [[Similar(id, 0.99, "spelling")] for id in ids * 5]


def test_tasks_of_one_event_loop_share_one_finder(finder: DuplicateFinder, session: sa.Connection) -> None:
    pytest.importorskip("greenlet", reason="SQLAlchemy's asyncio extra is not installed")
    from sqlalchemy.ext.asyncio import create_async_engine

    id = add_topic(session, "Message Queue")
    engine = create_async_engine(session.engine.url)

    async def search() -> Sequence[Similar | None]:
        async with engine.connect() as own:
            return await own.run_sync(lambda connection: ask(finder, connection, "message queue"))

    async def search_together() -> list[Sequence[Similar | None]]:
        try:
            return await asyncio.wait_for(asyncio.gather(*(search() for _ in range(5))), timeout=60)
        finally:
            await engine.dispose()

    assert asyncio.run(search_together()) == [[Similar(id, 0.99, "spelling")]] * 5
