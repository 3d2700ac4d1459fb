"""The application: `create_app(service)` is what a server runs, or a backend mounts."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.api import admin_routes, entity_routes, fault_routes, knowledge_routes, problems
from knowledge_migration.knowledge.measurements import outcome_of_status
from knowledge_migration.knowledge.service import KnowledgeService

DESCRIPTION = """
Knowledge extracted from messages, and the proposals that it goes through before it is knowledge.

* **extraction** finds topics and atoms in messages; feature flags decide whether they are written at once, as proposals, or both.
* **proposals** and **review** are for the people who decide: approve, reject, merge, undo. Doing something twice changes nothing.
* **topics** and **atoms** are the knowledge itself.

Send `Authorization: Bearer TOKEN`. Where no token is set, only this machine is served. Every error is a problem
document (RFC 9457) that says what to do.
"""
KEEP_ALIVE_SECONDS = 75
"""For the server that runs it: longer than clients (httpx 5 s) and load balancers (60 s) keep an idle connection.

A server that closes first does so now and then in the very moment in which a request comes in, which then fails.
"""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPERATION_ROUTES = ("/health", "/metrics", "none")
"""What monitoring asks, and what does not exist, says nothing about users."""
TAGS = [
    {"name": "extraction", "description": "From messages to knowledge, and the record of it."},
    {"name": "proposals", "description": "What waits for review, and what became of it."},
    {"name": "review", "description": "Decisions of reviewers. Each is audited, and can be taken back."},
    {"name": "topics", "description": "Subjects."},
    {"name": "atoms", "description": "Pieces of knowledge."},
    {"name": "admin", "description": "The feature flags; needs the token of an admin."},
    {"name": "operation", "description": "For monitoring."},
]


def create_app(service: KnowledgeService) -> FastAPI:
    """The application on one service; it starts and stops the service with itself."""

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
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    app.middleware("http")(_measuring(service))
    api = APIRouter(prefix="/api/v1")
    for router in (
        knowledge_routes.router,
        entity_routes.router,
        admin_routes.config_router,
        admin_routes.rollback_router,
    ):
        api.include_router(router)
    if service.options.allow_faults:
        api.include_router(fault_routes.router)
    app.include_router(api)
    app.include_router(admin_routes.status_router)
    return app


CallNext = Callable[[Request], Awaitable[Response]]


def _measuring(service: KnowledgeService) -> Callable[[Request, CallNext], Awaitable[Response]]:
    async def measured(request: Request, call_next: CallNext) -> Response:
        """Counts each request by its route, never by its path: paths are endless, and so are invented methods."""
        started, status = time.perf_counter(), 500
        method = request.method if request.method in METHODS else "other"
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = getattr(request.scope.get("route"), "path", "none")
            seconds = time.perf_counter() - started
            metrics.requests.labels(method, route, str(status)).inc()
            metrics.request_seconds.labels(method, route).observe(seconds)
            if status >= 500:
                metrics.request_errors.labels(method, route).inc()
            if route not in OPERATION_ROUTES:
                service.measurements.count(f"{method} {route}", "", outcome_of_status(status), seconds)

    return measured
