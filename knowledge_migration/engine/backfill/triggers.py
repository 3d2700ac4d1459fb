"""The user's triggers and rules that our UPDATE fires: which they are, what they write, and the operator's choice about them.

The server counts the rows that a transaction writes, by its triggers too, by table: more than the link is a side effect. Row
values of topics, atoms and their relations never change, whatever the choice is.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from knowledge_migration.engine.foundation import legacy_rows
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.entity_kinds import EntityKind
from knowledge_migration.settings import TriggerChoice

LEGACY = frozenset(f"public.{table}" for table in legacy_rows.TABLES)


class SideEffectError(Exception):
    """Linking a row wrote more than its link."""

    sqlstate = "KM003"


@dataclass(frozen=True)
class Fired:
    """A trigger or rule that fires on the UPDATE of the link columns, and the statement that restricts it to other columns."""

    name: str
    function: str
    restricted: str | None

    def __str__(self) -> str:
        return f"{self.name}, {self.function}"


def fired(connection: Connection, kind: EntityKind) -> tuple[Fired, ...]:
    """Those that fire in this session."""
    rows = connection.execute(text_of("backfill/update_triggers"), {"table": f"public.{kind.table}"})
    return tuple(Fired(**row) for row in rows)


def listed(triggers: tuple[Fired, ...]) -> str:
    """Their names with the functions."""
    return "; ".join(map(str, triggers)) or "of unknown name"


def apply_choice(connection: Connection, choice: TriggerChoice) -> None:
    """Disables the triggers for this session if the operator chose so; raises `PreconditionError` where the role may not."""
    if choice != "replica":
        return
    try:
        connection.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege as error:
        raise PreconditionError(
            f"MIGRATION_TRIGGERS is replica, but user {connection.info.user} may not set session_replication_role. As a "
            f'superuser: GRANT SET ON PARAMETER session_replication_role TO "{connection.info.user}" (PostgreSQL 15 or later).'
        ) from error


def written(connection: Connection) -> Counter[str]:
    """The rows that this session has written and not yet reported, by table; compare two readings of one transaction."""
    return Counter({row["name"]: row["rows"] for row in connection.execute(text_of("backfill/written_in_transaction"))})


def side_effects(before: Counter[str], after: Counter[str], own: Mapping[str, int]) -> dict[str, int]:
    """The rows of each table between two readings, without our own."""
    rows = {table: after[table] - before[table] - own.get(table, 0) for table in after}
    return {table: number for table, number in rows.items() if number > 0}


@contextmanager
def watched(
    connection: Connection, *, force_rollback: bool = False
) -> Iterator[Callable[[Mapping[str, int]], dict[str, int]]]:
    """A transaction, and what reports the rows that it has written besides our own; deferred triggers write first."""
    with connection.transaction(force_rollback=force_rollback):
        before = written(connection)

        def effects(own: Mapping[str, int]) -> dict[str, int]:
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            return side_effects(before, written(connection), own)

        yield effects


def not_accepted(effects: Mapping[str, int], choice: TriggerChoice) -> dict[str, int]:
    """The side effects that the operator's choice does not cover."""
    return {table: rows for table, rows in effects.items() if choice != "accept" or table in LEGACY}


def remedy(triggers: tuple[Fired, ...]) -> str:
    """What the operator can do about them."""
    restricted = " ".join(f"{one.restricted};" for one in triggers if one.restricted)
    return (
        f"Restrict them to other columns{f': {restricted}' if restricted else ''} Or choose: MIGRATION_TRIGGERS=replica disables "
        "ordinary triggers in the sessions of the backfill (session_replication_role), MIGRATION_TRIGGERS=accept lets them write "
        "to other tables than topics, atoms and their relations. Then run this again."
    )
