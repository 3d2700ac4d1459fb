"""Generated requests, valid and not, against a live service with rows in it: no 500, and every answer is as described."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, atom, topic
from knowledge_migration_tests.serving import serving

EXAMPLES = 6
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FOUND = Extraction(
    topics=(topic("backups", 0.97), topic("weak", 0.5)),
    atoms=(atom("restore", "backups", 0.97), atom("a", "weak", 0.5)),
)
ROWS = """
INSERT INTO topics (name, description) SELECT 'topic ' || n, '' FROM generate_series(1, 5) AS n;
INSERT INTO atoms (type, title, content, user_approved, meta)
SELECT 'insight', 'atom ' || n, '', false, '{"a": [1]}' FROM generate_series(1, 500) AS n;
INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1 + id % 5, id FROM atoms;
"""
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def address(peopled: Database, rows: Connection) -> Iterator[str]:
    """A live service in dual write, with rows and proposals."""
    rows.execute(ROWS)
    with serving(peopled, FakeExtractor(FOUND), initial_flags=Flags(dual_write=True)) as url:
        yield url


def described(address: str) -> list[Any]:
    """Every operation of the API's own description."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=SchemathesisConfig())
    return [result.ok() for result in schema.get_all_operations()]


def ask(operation: Any, mode: GenerationMode, **given_values: Any) -> int:
    """Sends the examples, and compares each response with the description; returns their number."""
    sent = 0

    @given(case=operation.as_strategy(generation_mode=mode, **given_values))
    @BOUNDED
    def check(case: Any) -> None:
        nonlocal sent
        answer = case.call()
        sent += 1
        case.validate_response(answer, checks=CHECKS)

    check()
    return sent


def test_valid_requests_are_answered_as_described(address: str) -> None:
    operations = described(address)
    assert len(operations) == 28
    for operation in operations:
        assert ask(operation, GenerationMode.POSITIVE) > 0, operation.label


def test_invalid_requests_are_refused_as_described(address: str) -> None:
    asked = 0
    for operation in described(address):
        if operation.body or operation.query or operation.path_parameters:
            asked += ask(operation, GenerationMode.NEGATIVE)
    assert asked > 100


def test_requests_about_rows_that_exist_are_answered_as_described(address: str, rows: Connection) -> None:
    for operation in described(address):
        if operation.label.endswith("/knowledge/extract"):
            body = {"message_ids": [1, 2, 3], "user_id": 1}
            assert operation.Case(body=body, media_type="application/json").call().status_code == 200
    proposals = [str(row["id"]) for row in rows.execute("SELECT id FROM topic_proposals WHERE status = 'pending'")]
    runs = [str(row["id"]) for row in rows.execute("SELECT id FROM knowledge_extraction_runs")]
    existing = {"topic_id": 1, "atom_id": 1, "proposal_id": proposals[0], "run_id": runs[0]}
    for operation in described(address):
        names = {parameter.name for parameter in operation.path_parameters}
        if names:
            path_parameters = {name: existing[name] for name in names}
            assert ask(operation, GenerationMode.POSITIVE, path_parameters=path_parameters) > 0, operation.label
    assert count(rows, "SELECT count(*) FROM topics WHERE id = 1") == 1
    assert count(rows, "SELECT count(*) FROM atoms") == 499 + 1
