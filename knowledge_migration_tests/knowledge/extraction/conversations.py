"""Messages for the tests: hand-written ones, and the real ones where they are at hand."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

from knowledge_migration.knowledge.extraction.model import Message
from knowledge_migration_tests.conftest import SHARED_DATA

CONVERSATION = (
    "The nightly import crashes on empty files. Unfortunately the log says nothing.",
    "Have you tried the new `import-worker`? It skips empty files.",
    "Decision: the import-worker replaces the nightly import. However, it must run before six.",
)

_START = datetime(2025, 10, 23, tzinfo=UTC)


def said(*contents: str, authors: tuple[int, ...] = ()) -> list[Message]:
    """Messages with ids from 1, a minute apart; each of another author unless `authors` says who."""
    return [
        Message(number, content, _START + timedelta(minutes=number), authors[number - 1] if authors else number)
        for number, content in enumerate(contents, start=1)
    ]


def real_messages(count: int, *, every: int = 1) -> list[Message]:
    """Real commit messages and conversations; skips the test where the data is missing."""
    path = SHARED_DATA / "small" / "messages.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no real messages: {path} is missing")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::every][:count]
    return [
        Message(row["id"], row["content"], datetime.fromisoformat(row["sent_at"]), row["author_id"]) for row in rows
    ]
