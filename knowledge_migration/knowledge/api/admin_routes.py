"""Feature flags, rollback by flags, health and metrics (strategy §7.3, §4.2)."""

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.api import models
from knowledge_migration.knowledge.api.access import Admin, Service, admin, caller
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
fault_router = APIRouter(prefix="/admin/faults", include_in_schema=False, dependencies=[Depends(admin)])
"""Fault injection: included only if the service was started with it, and not part of the OpenAPI document."""


@config_router.get("")
async def read_config(service: Service) -> models.FlagsNow:
    """The flags that this process has applied."""
    return _now(service)


@config_router.post("", responses=responses(409, 422))
async def change_config(service: Service, who: Admin, change: models.FlagsChange) -> models.FlagsNow:
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
    return models.FlagsNow(flags=after, state=after.state, problem=service.watcher.problem)


@config_router.post("/reload")
async def reload_config(service: Service) -> models.FlagsNow:
    """Reads the flags from the database now. Normally not needed: a process applies every change within a second."""
    await service.watcher.reload()
    return _now(service)


@rollback_router.post("", responses=responses(409, 422))
async def roll_back_flags(service: Service, who: Admin, wanted: models.RollbackRequest) -> models.RollbackResult:
    """Rolls back by flags, for every process within a second: `instant` switches proposals off, `partial` leaves 10 %.

    Proposals that `instant` strands are replayed or parked in the background.
    """
    done = await service.roll_back_flags(
        wanted.kind, actor=who.name, reason=wanted.reason, expected_version=wanted.expected_version
    )
    return models.RollbackResult(before=done.before, after=done.after, state=done.after.state, stranded=done.stranded)


def _now(service: KnowledgeService) -> models.FlagsNow:
    flags = service.watcher.flags
    return models.FlagsNow(flags=flags, state=flags.state, problem=service.watcher.problem)


@status_router.get("/health", responses={503: {"model": models.Health, "description": "The database is unreachable"}})
async def health(service: Service, response: Response) -> models.Health:
    """Whether the service can work (503 if the database is unreachable), its flags, and the state of the migration."""
    queue: metrics.QueueState | None = None
    try:
        queue = await service.in_transaction(metrics.read_queue_state)
        await service.refresh_metrics()
    except UnavailableError:
        response.status_code = 503
    flags = service.watcher.flags
    collected = metrics.exporter.state.collected if queue and metrics.exporter.state else None
    return models.Health(
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


def _active_fault(service: KnowledgeService) -> models.FaultNow:
    fault = service.faults.active
    if fault is None:
        return models.FaultNow()
    return models.FaultNow(mode=fault.mode, share=fault.share, seconds=service.faults.seconds_left)


@fault_router.post("")
async def begin_fault(service: Service, wanted: models.FaultRequest) -> models.FaultNow:
    """Begins a fault in this process; it replaces the active fault."""
    service.faults.begin(wanted.mode, wanted.share, wanted.seconds)
    return _active_fault(service)


@fault_router.get("")
async def read_fault(service: Service) -> models.FaultNow:
    """The active fault of this process."""
    return _active_fault(service)


@fault_router.delete("", status_code=204)
async def end_fault(service: Service) -> Response:
    """Ends the active fault of this process."""
    service.faults.end()
    return Response(status_code=204)
