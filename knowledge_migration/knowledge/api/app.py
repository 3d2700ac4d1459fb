"""`create_app(service)`: the FastAPI application, for a server to run or a backend to mount."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.api import admin_routes, entity_routes, knowledge_routes, problems, reference_page
from knowledge_migration.knowledge.api.disconnects import Disconnects
from knowledge_migration.knowledge.api.limits import RequestLimits
from knowledge_migration.knowledge.measurements import outcome_of_status
from knowledge_migration.knowledge.service import KnowledgeService

DESCRIPTION = """
The service extracts knowledge from messages. In proposal mode, reviewers approve it before it is used.

- extraction finds topics and atoms in messages; feature flags select how they are written: directly, as proposals, or both.
- proposals and review are for reviewers: approve, reject, merge, undo. Every request is idempotent.
- topics and atoms are the approved knowledge.

Send the header Authorization: Bearer TOKEN. If no token is set, only this machine is served. Every error is a problem
document (RFC 9457) that states how to proceed.
"""
API = "/api/v1"
KEEP_ALIVE_SECONDS = 75
"""Longer than clients (httpx 5 s) and load balancers (60 s) keep an idle connection.

A server that closes an idle connection first sometimes does so while a request arrives; that request then fails.
"""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPERATION_ROUTES = ("/health", "/metrics", "none")
"""Requests of monitoring and to unknown paths are not requests of users."""
TAGS = [
    {"name": "extraction", "description": "Extraction from messages, and extraction runs."},
    {"name": "proposals", "description": "Proposals and their status."},
    {"name": "review", "description": "Decisions of reviewers. Each is recorded in the audit log and can be undone."},
    {"name": "topics", "description": "Subjects of knowledge."},
    {"name": "atoms", "description": "Pieces of knowledge."},
    {"name": "admin", "description": "Feature flags; requires the token of an admin."},
    {"name": "operation", "description": "Health and metrics."},
]


def _routes(*routers: APIRouter, prefix: str = "") -> list[BaseRoute]:
    """The routes of these routers below a prefix. They hold no application, so that all applications share them."""
    parent = APIRouter(prefix=prefix)
    for router in routers:
        parent.include_router(router)
    return parent.routes


ROUTES = [
    *_routes(
        knowledge_routes.router,
        entity_routes.router,
        admin_routes.config_router,
        admin_routes.rollback_router,
        prefix=API,
    ),
    *_routes(admin_routes.status_router),
]
FAULT_ROUTES = _routes(admin_routes.fault_router, prefix=API)


def create_app(service: KnowledgeService) -> FastAPI:
    """The application of one service; its lifespan starts and stops the service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Knowledge service",
        version="1",
        summary="Extraction, proposals and review of knowledge.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        routes=[*ROUTES, *(FAULT_ROUTES if service.options.allow_faults else ())],
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    reference_page.install(app)
    app.add_middleware(RequestLimits, service=service)
    app.add_middleware(Disconnects)
    app.add_middleware(Measuring, service=service)
    return app


class Measuring:
    """Counts each request by route and known method, because the number of paths and methods is unbounded."""

    def __init__(self, app: ASGIApp, service: KnowledgeService) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; one whose client has gone before the response is not counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status: int | None = None

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception:
            status = status or 500
            raise
        finally:
            if status:
                self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        metrics.requests.labels(method, route, str(status)).inc()
        metrics.request_seconds.labels(method, route).observe(seconds)
        if status >= 500:
            metrics.request_errors.labels(method, route).inc()
        if route not in OPERATION_ROUTES:
            self.service.measurements.count(f"{method} {route}", "", outcome_of_status(status), seconds)
