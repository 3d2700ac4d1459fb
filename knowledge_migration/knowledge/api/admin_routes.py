"""Feature flags, rollback by flags, health and metrics (strategy §7.3, §4.2)."""

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.api.access import Admin, admin, caller
from knowledge_migration.knowledge.api.context import Service
from knowledge_migration.knowledge.api.models import FlagsChange, FlagsNow, Health, RollbackRequest, RollbackResult
from knowledge_migration.knowledge.api.problems import responses
from knowledge_migration.knowledge.errors import UnavailableError
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.service import KnowledgeService

config_router = APIRouter(
    prefix="/admin/config", tags=["admin"], dependencies=[Depends(admin)], responses=responses(401, 403, 503)
)
rollback_router = APIRouter(
    prefix="/admin/rollback", tags=["admin"], dependencies=[Depends(admin)], responses=responses(401, 403, 503)
)
status_router = APIRouter(tags=["operation"])


@config_router.get("")
async def read_config(service: Service) -> FlagsNow:
    """The flags that this process has applied."""
    return _now(service)


@config_router.post("", responses=responses(409, 422))
async def change_config(service: Service, who: Admin, change: FlagsChange) -> FlagsNow:
    """Changes flags for every process of the service within a second, and records the change in the audit log."""
    after: Flags = await service.in_transaction(
        set_flags,
        change.flags,
        initial=service.options.initial_flags,
        actor=who.name,
        reason=change.reason,
        expected_version=change.expected_version,
    )
    await service.watcher.reload()
    return FlagsNow(flags=after, state=after.state, problem=service.watcher.problem)


@config_router.post("/reload")
async def reload_config(service: Service) -> FlagsNow:
    """Reads the flags from the database now. Normally not needed: a process applies every change within a second."""
    await service.watcher.reload()
    return _now(service)


@rollback_router.post("", responses=responses(409, 422))
async def roll_back_flags(service: Service, who: Admin, wanted: RollbackRequest) -> RollbackResult:
    """Rolls back by flags, for every process within a second: `instant` switches proposals off, `partial` leaves 10 %.

    Proposals that `instant` strands are replayed or parked in the background.
    """
    done = await service.roll_back_flags(
        wanted.kind, actor=who.name, reason=wanted.reason, expected_version=wanted.expected_version
    )
    return RollbackResult(before=done.before, after=done.after, state=done.after.state, stranded=done.stranded)


def _now(service: KnowledgeService) -> FlagsNow:
    flags = service.watcher.flags
    return FlagsNow(flags=flags, state=flags.state, problem=service.watcher.problem)


@status_router.get("/health", responses={503: {"model": Health, "description": "The database is unreachable"}})
async def health(service: Service, response: Response) -> Health:
    """Whether the service can work (503 if the database is unreachable), its flags, and the state of the migration."""
    queue: metrics.QueueState | None = None
    try:
        queue = await service.in_transaction(metrics.read_queue_state)
        await service.refresh_metrics()
    except UnavailableError:
        response.status_code = 503
    flags = service.watcher.flags
    collected = metrics.exporter.state.collected if queue and metrics.exporter.state else None
    return Health(
        status="ok" if queue and not service.watcher.problem else "degraded",
        database="reachable" if queue else "unreachable",
        process=service.watcher.process,
        flag_version=flags.version,
        state=flags.state,
        flags_problem=service.watcher.problem,
        schema_revision=collected.schema_revision if collected else None,
        backfill=collected.backfill if collected else None,
        pending_proposals=queue.pending_proposals if queue else None,
        open_shadow_failures=queue.open_shadow_failures if queue else None,
    )


@status_router.get(
    "/metrics", dependencies=[Depends(caller)], response_class=PlainTextResponse, responses=responses(401, 403)
)
async def prometheus_metrics(service: Service) -> Response:
    """Prometheus metrics of this process, and of the migration as it was read at most some seconds ago."""
    await service.refresh_metrics()
    metrics.set_gauges(service.watcher.flags.version)
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
