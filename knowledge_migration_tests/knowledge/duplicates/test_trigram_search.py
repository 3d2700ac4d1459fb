"""Spelling through pg_trgm: when it serves, and that it answers as the search in memory does."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import Candidate, DuplicateOptions, Similar
from knowledge_migration.knowledge.duplicates.spelling import has_trigram_index
from knowledge_migration.knowledge.entity_kinds import TOPIC
from knowledge_migration.knowledge.tables import topics
from knowledge_migration_tests.knowledge.duplicates.gold import GOLD, rows
from knowledge_migration_tests.knowledge.duplicates.rows import add_topic
from knowledge_migration_tests.knowledge.duplicates.trigram_server import available, trigram_server

INDEX = "CREATE INDEX ON topics USING gin (name gin_trgm_ops)"

pytestmark = pytest.mark.skipif(not available(), reason="needs the system's PostgreSQL 15 with pg_trgm")


@pytest.fixture(scope="module")
def server() -> Iterator[sa.Engine]:
    """A server with pg_trgm."""
    with trigram_server() as engine:
        yield engine


@pytest.fixture
def session(server: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction with an empty table of topics, rolled back at the end."""
    with server.connect() as opened:
        topics.create(opened)
        yield opened
        opened.rollback()


def test_without_an_index_pg_trgm_does_not_serve(session: sa.Connection) -> None:
    assert not has_trigram_index(session, TOPIC)


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX ON topics USING gin (name gin_trgm_ops)",
        "CREATE INDEX ON topics USING gist (name gist_trgm_ops)",
        "CREATE INDEX ON topics USING gin (name gin_trgm_ops, description gin_trgm_ops)",
    ],
)
def test_with_a_trigram_index_it_serves(session: sa.Connection, index: str) -> None:
    session.execute(sa.text(index))
    assert has_trigram_index(session, TOPIC)


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX ON topics USING gin (name gin_trgm_ops) WHERE id > 10",
        "CREATE INDEX ON topics USING gin (lower(name) gin_trgm_ops)",
        "CREATE INDEX ON topics USING gin (description gin_trgm_ops)",
        "CREATE INDEX ON topics (name varchar_pattern_ops)",
    ],
)
def test_an_index_of_another_kind_does_not_serve(session: sa.Connection, index: str) -> None:
    session.execute(sa.text(index))
    assert not has_trigram_index(session, TOPIC)


def test_an_index_of_an_interrupted_build_does_not_serve(session: sa.Connection) -> None:
    session.execute(sa.text(INDEX))
    session.execute(sa.text("UPDATE pg_index SET indisvalid = false WHERE indrelid = 'topics'::regclass"))
    assert not has_trigram_index(session, TOPIC)


def test_an_extension_that_is_not_on_the_search_path_does_not_serve(session: sa.Connection) -> None:
    session.execute(sa.text(INDEX))
    session.execute(sa.text("CREATE SCHEMA aside"))
    session.execute(sa.text("ALTER EXTENSION pg_trgm SET SCHEMA aside"))
    assert not has_trigram_index(session, TOPIC)


def test_a_name_is_found_with_the_score_that_memory_gives_it_and_none_is_held(session: sa.Connection) -> None:
    session.execute(sa.text(INDEX))
    id, alike = add_topic(session, "100% Uptime"), add_topic(session, "IPython")
    add_topic(session, "Release 22")
    finder = DuplicateFinder(DuplicateOptions(most_names_held=0))
    found = finder.similar(
        session, TOPIC, [Candidate(name, "") for name in ("100% uptime", "Release 23", "python", "")]
    )
    assert found == [Similar(id, 0.99, "spelling"), None, Similar(alike, pytest.approx(12 / 13), "spelling"), None]


def test_the_threshold_of_the_session_is_as_before(session: sa.Connection) -> None:
    session.execute(sa.text(INDEX))
    session.execute(sa.text("SELECT set_config('pg_trgm.similarity_threshold', '0.9', true)"))
    id = add_topic(session, "IPython")
    [similar] = DuplicateFinder().similar(session, TOPIC, [Candidate("python", "")])
    assert similar
    assert similar.entity_id == id
    assert session.scalar(sa.text("SHOW pg_trgm.similarity_threshold")) == "0.9"


@pytest.mark.skipif(not GOLD.exists(), reason=f"needs {GOLD}")
def test_real_names_get_the_answers_that_memory_gives_but_for_one_in_a_hundred(session: sa.Connection) -> None:
    session.execute(topics.insert(), [{"name": row["name"], "description": ""} for row in rows("small", "topics")])
    wanted = [Candidate(f"{row['name']}s", "") for row in rows("small", "topics")[::3]]
    from_memory = DuplicateFinder().similar(session, TOPIC, wanted)
    session.execute(sa.text(INDEX))
    through_pg_trgm = DuplicateFinder().similar(session, TOPIC, wanted)
    assert sum(found is not None for found in from_memory) > 300
    others = [pair for pair in zip(from_memory, through_pg_trgm, strict=True) if pair[0] != pair[1]]
    assert len(others) <= len(wanted) / 100
    assert all(one and other and one.score >= other.score for one, other in others)
