"""What the service refuses, in plain words. Each has the HTTP status that the API answers with; none names a secret."""

from typing import ClassVar


class KnowledgeError(Exception):
    """The service refuses something on purpose; nothing was written."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The request failed"


class UnknownError(KnowledgeError):
    """Something that was asked for does not exist."""

    status = 404
    title = "Not found"


class InvalidError(KnowledgeError):
    """The request asks for what cannot be."""

    status = 422
    title = "The request is not valid"


class ConflictError(KnowledgeError):
    """The state of the thing does not allow this."""

    status = 409
    title = "Conflict with the present state"


class QueueFullError(KnowledgeError):
    """As many proposals wait for review as may; the messages are kept, and can be extracted later."""

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
