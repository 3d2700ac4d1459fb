"""The audit log: who did what, when and why, written in the transaction of the deed."""

import getpass
import os
import socket
from typing import Any

import sqlalchemy as sa
from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.tables import audit_log


def operator() -> str:
    """Who runs this process, as the audit log names them; in a container the user may have a number only."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def record(
    connection: Connection,
    action: str,
    subject: str,
    *,
    reason: str | None = None,
    before: Any = None,
    after: Any = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> None:
    """Writes one entry; call it inside the transaction that does what it speaks of."""
    connection.execute(
        text_of("foundation/audit"),
        {
            "actor": actor or operator(),
            "action": action,
            "subject": subject,
            "before": None if before is None else Jsonb(before),
            "after": None if after is None else Jsonb(after),
            "reason": reason,
            "dagster_run_id": dagster_run_id,
        },
    )


def record_beside(
    transaction: sa.Connection,
    action: str,
    subject: str,
    *,
    reason: str | None = None,
    before: Any = None,
    after: Any = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> None:
    """Writes one entry in a transaction of SQLAlchemy, beside what the functions of `knowledge` write there."""
    values = {"actor": actor or operator(), "action": action, "subject": subject, "reason": reason}
    values |= {name: value for name, value in (("before", before), ("after", after)) if value is not None}
    transaction.execute(sa.insert(audit_log).values(**values, dagster_run_id=dagster_run_id))
