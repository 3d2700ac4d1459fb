"""Every error as a problem document (RFC 9457); what is not meant for a caller is logged and not told."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from knowledge_migration.knowledge.api.access import NoTokenError
from knowledge_migration.knowledge.errors import InvalidError, KnowledgeError, QueueFullError
from knowledge_migration.knowledge.flags import FlagsError, StaleFlagsError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(default="about:blank", description="Always about:blank: the status says the kind.")
    title: str = Field(description="The kind of problem.", examples=["Not found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened and what to do.", examples=["There is no topic 7."])
    errors: list[dict[str, Any]] | None = Field(default=None, description="Where the request is not valid, and why.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its documentation."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Makes the application answer every error with a problem document."""
    app.add_exception_handler(KnowledgeError, _on_purpose)
    app.add_exception_handler(FlagsError, _flags)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _fault)


def _answer(status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(problem, status, headers=headers, media_type=MEDIA_TYPE)


async def _on_purpose(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KnowledgeError)
    headers: dict[str, str] = {}
    if isinstance(error, QueueFullError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, NoTokenError):
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(error.status, error.title, str(error), headers)


async def _flags(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StaleFlagsError):
        return _answer(409, "The flags were changed by somebody else", str(error))
    return _answer(InvalidError.status, InvalidError.title, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    where = [{"where": ".".join(map(str, item["loc"])), "why": item["msg"]} for item in error.errors()]
    words = "; ".join(f"{item['where']}: {item['why']}" for item in where[:5])
    return _answer(InvalidError.status, InvalidError.title, words, errors=where)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI answers 422 to JSON that is cut off, but 400 to this
        words = (
            "The body cannot be read as JSON: it is not UTF-8, nested too deep, or holds a number of endless digits."
        )
        return _answer(InvalidError.status, InvalidError.title, words)
    return _answer(
        error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail), dict(error.headers or {})
    )


async def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    words = "The service failed. Its log says why. What was asked for may have been done: look before you ask again."
    return _answer(500, "A fault of the service", words)
