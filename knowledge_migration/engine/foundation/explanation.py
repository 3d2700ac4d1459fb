"""An error that nobody raised on purpose, as text for the operator: its innermost cause, the object, and what to do."""

import errno
from typing import Any

import psycopg

from knowledge_migration.engine.foundation.database import NOT_SO_FAR

OFTEN = "Committed work stays; correct the cause, then run it again."
STORAGE = "psycopg2"  # the driver of Dagster's storage, and of nothing else here


def reason_of(error: Any) -> str:
    """The server's message without its details and context, which may contain values of a row."""
    return (error.diag.message_primary or str(error).partition("\n")[0]).strip().rstrip(".")


def innermost(error: BaseException) -> BaseException:
    """The error that caused this one in the end."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error


def explained(error: BaseException) -> str:
    """The innermost cause in two sentences: what happened to which object, and the next step."""
    cause = innermost(error)
    if isinstance(cause, psycopg.Error):
        return f"{_named(cause)}. {_next_step(cause)}"
    if type(cause).__module__.partition(".")[0] == STORAGE:
        full = errno.ENOSPC if type(cause).__name__ == "DiskFull" else None
        return f"Dagster's storage (KNOWLEDGE_MIGRATION_DAGSTER_URL): {reason_of(cause)}. {_space(full)}{OFTEN}"
    if isinstance(cause, OSError):
        return f"{cause.filename or 'A file or connection'}: {cause.strerror or cause}. {_space(cause.errno)}{OFTEN}"
    first = str(cause).strip().partition("\n")[0].rstrip(".")
    return f"{type(cause).__name__}: {first}. This is a fault of the tool; report it with the log of the run. {OFTEN}"


def _named(error: psycopg.Error) -> str:
    """The message, and the objects that the server names beside it."""
    diag = error.diag
    place = f"{diag.schema_name}.{diag.table_name}" if diag.table_name else ""
    names = [name for name in (place, diag.column_name, diag.constraint_name) if name]
    message = reason_of(error)
    unnamed = [name for name in names if name.rpartition(".")[2] not in message]
    return f"{message} ({', '.join(unnamed)})" if unnamed else message


def _next_step(error: psycopg.Error) -> str:
    if isinstance(error, NOT_SO_FAR):
        return "This database has not come so far: run the phases before first."
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "Preflight (job phase_0_preparation) names each missing right and its GRANT."
    if isinstance(error, psycopg.errors.DiskFull):
        return f"{_space(errno.ENOSPC)}{OFTEN}"
    return "Committed work stays; run it again." if isinstance(error, psycopg.OperationalError) else OFTEN


def _space(number: int | None) -> str:
    return "Free space on that disk. " if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
