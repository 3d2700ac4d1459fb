"""How many proposals a list has in all. Counting reads every one of them, so it is given up where that takes too long."""

import psycopg
import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, EntityKind, EntityName
from knowledge_migration.knowledge.proposals.listing import Wanted, conditions


def count_proposals(connection: sa.Connection, wanted: Wanted, timeout_ms: int = 1000) -> dict[EntityName, int | None]:
    """The number of each wanted kind over all pages of the list; None where counting it takes longer than the timeout.

    In the caller's transaction, which stays as usable as it was, its own timeout included.
    """
    return {name: _count(connection, KIND_BY_NAME[name], wanted, timeout_ms) for name in wanted.kinds}


def _count(connection: sa.Connection, kind: EntityKind, wanted: Wanted, timeout_ms: int) -> int | None:
    """In a savepoint that is always rolled back: that restores the timeout, and there is nothing to keep."""
    status = kind.proposals.c.status.in_(wanted.statuses)
    query = sa.select(sa.func.count()).select_from(kind.proposals).where(status, *conditions(kind, wanted))
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, int(timeout_ms))}")
        return connection.execute(query).scalar_one()
    except sa.exc.OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise
        return None
    finally:
        savepoint.rollback()
