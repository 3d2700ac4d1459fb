"""The errors of the service, each with the HTTP status of the API's answer, and SQLSTATEs. No message contains a secret."""

from typing import ClassVar

UNDEFINED_TABLE = "42P01"
NOT_MIGRATED = (UNDEFINED_TABLE, "42703", "3F000")
"""SQLSTATEs of a missing table, column or schema."""
LEAVING = "KM002"
"""Of the rollback of phase 1, which refuses writes to the proposal tables while it exports and drops them."""


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a database error of any driver, of psycopg and asyncpg under SQLAlchemy alike."""
    cause = getattr(error, "orig", None) or error
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


class KnowledgeError(Exception):
    """The service refuses a request; nothing was written."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The request failed"


class UnknownError(KnowledgeError):
    """The requested object does not exist."""

    status = 404
    title = "Not found"


class InvalidError(KnowledgeError):
    """The request is not valid."""

    status = 422
    title = "The request is not valid"


class ConflictError(KnowledgeError):
    """The state of the object does not allow this."""

    status = 409
    title = "Conflict with the present state"


class QueueFullError(KnowledgeError):
    """The review queue is at its limit; the messages are kept and can be extracted later."""

    status = 429
    title = "The review queue is full"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ExtractionFailedError(KnowledgeError):
    """The extractor failed, took too long, or returned what cannot be used."""

    status = 502
    title = "The extraction failed"


class UnavailableError(KnowledgeError):
    """The database, or the part of its schema that this needs, is not there."""

    status = 503
    title = "The database is not available"


class NotMigratedError(UnavailableError):
    """The proposal schema is not there, or an operator is removing it; nothing was written."""
