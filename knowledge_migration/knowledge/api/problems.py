"""Every error as a problem document (RFC 9457); details of unexpected errors are logged and not sent."""

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
    """A problem document (RFC 9457)."""

    type: str = Field(default="about:blank", description="Always about:blank: the status states the kind.")
    title: str = Field(description="The kind of problem.", examples=["Not found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened and how to proceed.", examples=["There is no topic 7."])
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="The invalid parts of the request, with reasons."
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem responses of a route, for its documentation."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Registers the handlers that turn every error into a problem document."""
    app.add_exception_handler(KnowledgeError, _refused)
    app.add_exception_handler(FlagsError, _flags)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _fault)


def _answer(status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(problem, status, headers=headers, media_type=MEDIA_TYPE)


def problem_of(error: KnowledgeError | HTTPException) -> JSONResponse:
    """The problem document of a refusal."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return _answer(error.status_code, phrase, str(error.detail), dict(error.headers or {}))
    headers: dict[str, str] = {}
    if isinstance(error, QueueFullError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, NoTokenError):
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(error.status, error.title, str(error), headers)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KnowledgeError)
    return problem_of(error)


async def _flags(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StaleFlagsError):
        return _answer(409, "Another user has changed the flags", str(error))
    return _answer(InvalidError.status, InvalidError.title, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    where = [{"where": ".".join(map(str, item["loc"])), "why": item["msg"]} for item in error.errors()]
    detail = "; ".join(f"{item['where']}: {item['why']}" for item in where[:5])
    return _answer(InvalidError.status, InvalidError.title, detail, errors=where)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI answers 422 to truncated JSON, but 400 to this
        detail = "The body is not valid JSON: it is not UTF-8, is nested too deeply, or contains a number with too many digits."
        return _answer(InvalidError.status, InvalidError.title, detail)
    return problem_of(error)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "The service failed; see its log. The request may have taken effect: check the state before you repeat it."
    return _answer(500, "Internal error", detail)
