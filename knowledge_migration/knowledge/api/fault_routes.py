"""Faults on purpose: there only where the service was started to have them, and in no description of the API."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from knowledge_migration.knowledge.api.access import admin
from knowledge_migration.knowledge.api.context import Service
from knowledge_migration.knowledge.flags import Mode

router = APIRouter(prefix="/admin/faults", include_in_schema=False, dependencies=[Depends(admin)])


class FaultRequest(BaseModel):
    """Which share of the extractions of a mode fails, for how many seconds."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mode: Mode
    share: Annotated[float, Field(gt=0, le=1)]
    seconds: Annotated[float, Field(gt=0, le=60)]


class FaultNow(BaseModel):
    """The fault that is in force, if any."""

    mode: Mode | None
    share: float | None


@router.post("")
async def begin_fault(service: Service, wanted: FaultRequest) -> FaultNow:
    """Begins a fault, in this process."""
    service.faults.begin(wanted.mode, wanted.share, wanted.seconds)
    return FaultNow(mode=wanted.mode, share=wanted.share)


@router.get("")
async def read_fault(service: Service) -> FaultNow:
    """The fault of this process."""
    fault = service.faults.active
    return FaultNow(mode=fault.mode if fault else None, share=fault.share if fault else None)


@router.delete("", status_code=204)
async def end_fault(service: Service) -> Response:
    """Ends the fault of this process."""
    service.faults.end()
    return Response(status_code=204)
