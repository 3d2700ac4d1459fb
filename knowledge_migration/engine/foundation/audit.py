"""Writes entries of the audit log: who did what, when and why, in the transaction of the change."""

import getpass
import os
import socket
from typing import Any, Required, TypedDict

import psycopg
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction, entry


class Attribution(TypedDict, total=False):
    """Why, by whom and in which Dagster run something is done; the operator of this process if `actor` is missing."""

    reason: Required[str]
    actor: str | None
    dagster_run_id: str | None


_named_operator: list[str] = []


def name_operator(name: str | None) -> None:
    """Sets the name of the person on whose behalf this process acts; None: the user of the process."""
    _named_operator[:] = [name] if name else []


def operator() -> str:
    """The operator, as the audit log names them; in a container the user of the process may have a number only."""
    if _named_operator:
        return _named_operator[0]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


SEAL_LOCK_TIMEOUT = "1s"


def seal(connection: Connection) -> bool:
    """Seals the new entries in the evidence; false where a writer's transaction lasts longer than a second."""
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (SEAL_LOCK_TIMEOUT,))
            connection.execute(text_of("foundation/audit_lock"))
            connection.execute(text_of("foundation/audit_seal"))
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def record(
    connection: Connection | sa.Connection,
    action: AuditAction,
    subject: str,
    *,
    reason: str | None = None,
    before: Any = None,
    after: Any = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> None:
    """Writes one entry in the caller's transaction, which makes the change; raises `ValueError` for an unknown action."""
    stated: dict[str, Any] = {"actor": actor or operator(), "reason": reason, "dagster_run_id": dagster_run_id}
    if isinstance(connection, sa.Connection):
        connection.execute(entry(action, subject, before=before, after=after, **stated))
        return
    before, after = (None if values is None else Jsonb(values) for values in (before, after))
    parameters = {"action": AuditAction(action), "subject": subject, "before": before, "after": after}
    connection.execute(text_of("foundation/audit"), {**stated, **parameters})
