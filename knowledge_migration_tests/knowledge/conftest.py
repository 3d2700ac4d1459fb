"""A service on a real database: users, messages, an extractor that says what a test tells it to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.extraction.model import ExtractedAtom, ExtractedTopic, Extraction, Message
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned, drop

PEOPLE_AND_MESSAGES = """
INSERT INTO users (first_name, is_active, is_bot) SELECT 'user ' || n, true, false FROM generate_series(1, 20) AS n;
INSERT INTO sources (name, type, is_active) VALUES ('chat', 'telegram', true);
INSERT INTO messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT 'm' || n, 'message ' || n, timestamp '2026-01-01' + n * interval '1 minute', 1, 1 + n % 20, false
FROM generate_series(1, 200) AS n;
"""


def topic(name: str, confidence: float = 0.8, messages: Sequence[int] = (1,), **values: Any) -> ExtractedTopic:
    """A topic as an extractor returns it."""
    return ExtractedTopic(
        name=name, description=f"about {name}", confidence=confidence, related_message_ids=tuple(messages), **values
    )


def atom(title: str, topic_name: str, confidence: float = 0.8, **values: Any) -> ExtractedAtom:
    """An atom as an extractor returns it."""
    given = {"type": "insight", "content": f"what {title} says", "related_message_ids": (1,), **values}
    return ExtractedAtom(title=title, topic_name=topic_name, confidence=confidence, **given)


FOUND = Extraction(
    topics=(topic("backups", 0.9, (1, 2)), topic("weak", 0.3, (3,)), topic("known", 0.8, (2, 3))),
    atoms=(
        atom(
            "restore them",
            "backups",
            0.9,
            links_to_atom_titles=("test them", "nobody"),
            link_types=("supports", "solves"),
        ),
        atom("test them", "backups", 0.99),
        atom("unsure", "backups", 0.2),
        atom("of a weak topic", "weak", 0.9),
    ),
)
"""What an extractor found: sure and unsure topics and atoms, links, and a link to nobody."""


@dataclass
class FakeExtractor:
    """An extractor that returns a given answer, or calls a given function (which may raise or wait)."""

    answer: Any = field(default_factory=Extraction)
    name: str = "told"
    asked: list[tuple[int, ...]] = field(default_factory=list)

    async def extract(self, messages: Sequence[Message]) -> Any:
        """The answer; a function is called, and awaited."""
        self.asked.append(tuple(message.id for message in messages))
        return await self.answer(messages) if callable(self.answer) else self.answer


@pytest.fixture(scope="session")
def peopled_template(server: EmbeddedServer) -> Iterator[str]:
    """The name of a database after phase 1 with 20 users and 200 messages, to be cloned."""
    template = clone(server, EXPANDED_TEMPLATE)
    with template.connect("test template") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    yield template.name
    drop(server, template)


@pytest.fixture
def peopled(server: EmbeddedServer, peopled_template: str) -> Iterator[Database]:
    """After phase 1, with 20 users and 200 messages."""
    with cloned(server, peopled_template) as copy:
        yield copy


@pytest.fixture
def rows(peopled: Database) -> Iterator[Connection]:
    """A psycopg session on the database of the service, to look at what is there."""
    with peopled.connect("test") as connection:
        yield connection


@pytest.fixture
def sql(peopled: Database) -> Iterator[sa.Connection]:
    """A SQLAlchemy connection on it, in autocommit off: commit or roll back yourself."""
    with peopled.engine() as engine, engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        yield connection


PATIENT: dict[str, Any] = {"metrics_seconds": 0.0, "shadow_timeout_ms": 30_000}
"""Options for busy machines: a shadow is not given up because the machine is slow."""

ServiceMaker = Callable[..., KnowledgeService]


@pytest.fixture
def make_service(peopled: Database) -> ServiceMaker:
    """Makes a service of an extraction (or an extractor) and options; run it with `async with service.running()`."""

    def make(answer: Any = None, **options: Any) -> KnowledgeService:
        extractor = (
            answer if hasattr(answer, "extract") else FakeExtractor(answer if answer is not None else Extraction())
        )
        return KnowledgeService(
            ServiceOptions(
                database_url=peopled.url, **{"metrics_seconds": 0.0, "shadow_timeout_ms": 30_000, **options}
            ),
            extractor,
        )

    return make
