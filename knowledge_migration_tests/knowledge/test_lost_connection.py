"""A session that ends in the middle of a request: nothing is written without its proposal, and no answer claims too much."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.errors import UnavailableError
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.knowledge.conftest import FOUND, ServiceMaker
from knowledge_migration_tests.support.flags import change_flags

ENDS_ONCE = """
CREATE SEQUENCE ended;
CREATE FUNCTION end_session_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('ended') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NULL;
END
$$;
"""
AT_THE_INSERT = "CREATE TRIGGER ends AFTER INSERT ON atoms FOR EACH STATEMENT EXECUTE FUNCTION end_session_once()"
AT_THE_COMMIT = (
    "CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON atoms DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION end_session_once()"
)
AN_ATOM = "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'once', '', false)"


def refusal(service: KnowledgeService, work: Callable[[], Any]) -> str:
    """What the service says about a request that the database does not answer."""

    async def inside() -> str:
        async with service.running():
            with pytest.raises(UnavailableError) as refused:
                await work()
            return str(refused.value)

    return asyncio.run(inside())


@pytest.mark.parametrize("changes", [{"dual_write": True}, {"dual_write": True, "enabled": True}])
def test_an_extraction_whose_session_ends_is_not_repeated_without_its_proposals(
    peopled: Database, rows: Connection, make_service: ServiceMaker, changes: dict[str, Any]
) -> None:
    rows.execute(ENDS_ONCE + AT_THE_INSERT)
    change_flags(peopled, changes)
    service = make_service(FOUND)
    assert "nothing was written" in refusal(service, lambda: service.extract((1, 2, 3), 1))
    assert count(rows, "SELECT count(*) FROM topics") == count(rows, "SELECT count(*) FROM atoms") == 0


def test_a_commit_without_an_answer_is_not_called_unwritten(rows: Connection, make_service: ServiceMaker) -> None:
    rows.execute(ENDS_ONCE + AT_THE_COMMIT)
    service = make_service()

    def insert(connection: sa.Connection) -> int:
        return connection.execute(sa.text(AN_ATOM)).rowcount

    message = refusal(service, lambda: service.in_transaction(insert))
    assert "nothing was written" not in message
    assert "may have taken effect" in message
