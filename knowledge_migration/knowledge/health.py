"""Where the migration stands, as far as the service sees it; every part that is not there yet is None."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID, uuid3

import psycopg
import sqlalchemy as sa

from knowledge_migration.knowledge.proposals.queue import pending_count
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.writing.repair import open_failures

T = TypeVar("T")

BACKFILL_RUN = uuid3(UUID(bytes=b"knowledge/origin"), "knowledge_extraction_runs/0")
"""The migration gives its run this id (see migration.origin_proposal_id)."""

NOT_THERE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege)


@dataclass(frozen=True)
class MigrationState:
    """The revision of the schema, the state of the backfill, what waits for somebody."""

    schema_revision: str | None
    backfill: str | None
    pending_proposals: int | None
    open_shadow_failures: int | None


def migration_state(connection: sa.Connection) -> MigrationState:
    """Asks each part in a savepoint of its own."""
    version = sa.table("alembic_version", sa.column("version_num"), schema="migration")
    backfill = sa.select(runs.c.status).where(runs.c.id == BACKFILL_RUN)
    return MigrationState(
        if_there(connection, lambda: connection.execute(sa.select(version.c.version_num)).scalar_one_or_none()),
        if_there(connection, lambda: connection.execute(backfill).scalar_one_or_none()),
        if_there(connection, lambda: pending_count(connection)),
        if_there(connection, lambda: open_failures(connection)),
    )


def if_there(connection: sa.Connection, ask: Callable[[], T]) -> T | None:
    """What is asked, in a savepoint; None where its table is not there, or may not be read."""
    try:
        with connection.begin_nested():
            return ask()
    except sa.exc.ProgrammingError as error:
        if isinstance(error.orig, NOT_THERE):
            return None
        raise
