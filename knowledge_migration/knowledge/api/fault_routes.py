"""Fault injection: available only if the service was started with it, and not part of the OpenAPI document."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from knowledge_migration.knowledge.api.access import admin
from knowledge_migration.knowledge.api.context import Service
from knowledge_migration.knowledge.flags import Mode
from knowledge_migration.knowledge.service import KnowledgeService

router = APIRouter(prefix="/admin/faults", include_in_schema=False, dependencies=[Depends(admin)])


class FaultRequest(BaseModel):
    """The mode, the share of its extractions that fail (0 to 1), and the duration in seconds."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mode: Mode
    share: Annotated[float, Field(ge=0, le=1)]
    seconds: Annotated[float, Field(gt=0, le=60)]


class FaultNow(BaseModel):
    """The active fault, if any."""

    mode: Mode | None = None
    share: float | None = None
    seconds: float | None = Field(default=None, description="Seconds until it ends.")


def _now(service: KnowledgeService) -> FaultNow:
    fault = service.faults.active
    return FaultNow(mode=fault.mode, share=fault.share, seconds=service.faults.seconds_left) if fault else FaultNow()


@router.post("")
async def begin_fault(service: Service, wanted: FaultRequest) -> FaultNow:
    """Begins a fault in this process; it replaces the active fault."""
    service.faults.begin(wanted.mode, wanted.share, wanted.seconds)
    return _now(service)


@router.get("")
async def read_fault(service: Service) -> FaultNow:
    """The active fault of this process."""
    return _now(service)


@router.delete("", status_code=204)
async def end_fault(service: Service) -> Response:
    """Ends the active fault of this process."""
    service.faults.end()
    return Response(status_code=204)
