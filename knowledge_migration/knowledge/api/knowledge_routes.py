"""Extraction, extraction runs, proposals, and the decisions about them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from knowledge_migration.knowledge.api import models
from knowledge_migration.knowledge.api.access import AnyCaller, Caller, Service, caller
from knowledge_migration.knowledge.api.problems import responses
from knowledge_migration.knowledge.decisions import Action, decide
from knowledge_migration.knowledge.entity_kinds import EntityName
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals import history, listing
from knowledge_migration.knowledge.proposals.review import Reviewer
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.writing.modes import Written

router = APIRouter(prefix="/knowledge", dependencies=[Depends(caller)], responses=responses(401, 403, 503))


async def after_phase_1(service: Service) -> None:
    """Raises `NotMigratedError` before phase 1."""
    await service.require_proposals()


proposals = APIRouter(dependencies=[Depends(after_phase_1)])

Status = Literal["pending", "approved", "auto_approved", "rejected", "merged", "withdrawn", "parked"]
RunStatus = Literal["pending", "running", "completed", "failed"]
Share = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]


@router.post("/extract", tags=["extraction"], responses=responses(404, 422, 429, 502))
async def extract(service: Service, request: models.ExtractionRequest) -> models.ExtractionResult:
    """Extracts knowledge from messages, in the mode that the flags select for this user.

    Direct mode writes topics and atoms. Dual write also writes proposals. Proposal mode writes proposals only, and approves
    proposals of high confidence at once. Status 429 with Retry-After means that the review queue is full: nothing was
    extracted, and the messages can be sent again.
    """
    return _result(await service.extract(request.message_ids, request.user_id))


@router.post("/extractions", tags=["extraction"], responses=responses(404, 413, 422))
async def write_extraction(service: Service, request: models.GivenExtractionRequest) -> models.ExtractionResult:
    """Writes what an application has extracted by itself, in the mode that the flags select for this user.

    It is not refused when the review queue is full. References to other messages than `message_ids` are
    left out. Status 404 if there is no such user.
    """
    return _result(
        await service.write(
            request,
            request.message_ids,
            request.user_id,
            extractor=request.extractor,
            extraction_seconds=request.extraction_seconds,
        )
    )


def _result(written: Written) -> models.ExtractionResult:
    proposed = written.proposed
    return models.ExtractionResult(
        run_id=written.run_id,
        mode=written.mode,
        topic_ids=list(written.topic_ids),
        atom_ids=list(written.atom_ids),
        topic_proposal_ids=list(proposed.topic_proposal_ids) if proposed else [],
        atom_proposal_ids=list(proposed.atom_proposal_ids) if proposed else [],
        auto_approved=len(written.approved),
    )


@proposals.get("/runs", tags=["extraction"], responses=responses(422))
async def list_runs(
    service: Service,
    limit: models.Limit = 20,
    cursor: models.Cursor = None,
    status: Annotated[list[RunStatus] | None, Query()] = None,
) -> models.ItemList[models.Run]:
    """Extraction runs, newest first."""
    page = await service.in_transaction(listing.list_runs, limit, cursor, status or ())
    return models.ItemList[models.Run].model_validate(page, from_attributes=True)


@proposals.get("/runs/{run_id}", tags=["extraction"], responses=responses(404, 422))
async def read_run(service: Service, run_id: UUID) -> models.Run:
    """One extraction run."""
    return models.Run(**await service.in_transaction(listing.one_run, run_id))


@proposals.get("/proposals", tags=["proposals"], responses=responses(422))
async def list_proposals(
    service: Service,
    limit: models.Limit = 50,
    cursor: models.Cursor = None,
    entity_type: Annotated[list[EntityName] | None, Query(description="Topics and atoms if omitted.")] = None,
    status: Annotated[list[Status] | None, Query(description="Pending proposals if omitted.")] = None,
    sort: Annotated[
        Literal["confidence", "created_at"], Query(description="The highest confidence or the newest first.")
    ] = "confidence",
    min_confidence: Share = None,
    max_confidence: Share = None,
    min_similarity: Annotated[Share, Query(description="Minimum similarity to an existing row.")] = None,
    run_id: UUID | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    text: Annotated[
        models.SearchText | None, Query(description="Text that the proposal contains, in upper or lower case.")
    ] = None,
    similar: Annotated[bool | None, Query(description="Whether the proposal is similar to an existing row.")] = None,
) -> models.ItemList[models.Proposal]:
    """Proposals, in pages."""
    wanted = listing.Wanted(
        kinds=tuple(dict.fromkeys(entity_type or ("topic", "atom"))),
        statuses=tuple(dict.fromkeys(status or ("pending",))),
        sort=sort,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        min_similarity=min_similarity,
        run_id=run_id,
        created_after=_as_utc(created_after),
        created_before=_as_utc(created_before),
        text=text,
        similar=similar,
    )
    page = await service.in_transaction(listing.list_proposals, wanted, limit, cursor)
    return models.ItemList[models.Proposal].model_validate(page, from_attributes=True)


@proposals.post("/proposals/bulk", tags=["review"], responses=responses(422))
async def decide_about_many(service: Service, who: AnyCaller, request: models.BulkReview) -> models.BulkResult:
    """Makes one decision about many proposals, each in its own transaction.

    An undo skips rows that somebody has changed or refers to since and lists them in `undecided`; what refers to another row
    of the request is undone before it.
    """
    decided: list[models.Decided] = []
    waiting = list(dict.fromkeys(request.proposal_ids))
    while True:
        undecided: list[models.Undecided] = []
        for proposal_id in waiting:
            try:
                decided.append(await _decide(service, who, request, request.action, proposal_id))
            except KnowledgeError as error:
                undecided.append(models.Undecided(proposal_id=proposal_id, status=error.status, detail=str(error)))
        if request.action != "undo" or not undecided or len(undecided) == len(waiting):
            return models.BulkResult(decided=decided, undecided=undecided)
        waiting = [one.proposal_id for one in undecided]


@proposals.get("/proposals/{proposal_id}", tags=["proposals"], responses=responses(404, 422))
async def read_proposal(service: Service, proposal_id: UUID) -> models.Proposal:
    """One proposal."""
    return models.Proposal(**await service.in_transaction(listing.one_proposal, proposal_id))


@proposals.get("/decisions", tags=["review"], responses=responses(422))
async def list_decisions(
    service: Service, limit: models.Limit = 50, cursor: models.Cursor = None
) -> models.ItemList[models.PastDecision]:
    """Decisions about proposals, newest first."""
    page = await service.in_transaction(history.list_decisions, limit, cursor)
    return models.ItemList[models.PastDecision].model_validate(page, from_attributes=True)


@proposals.post("/proposals/{proposal_id}/approve", tags=["review"], responses=responses(404, 409, 422))
async def approve(
    service: Service, who: AnyCaller, proposal_id: UUID, request: models.ApprovalReview | None = None
) -> models.Decided:
    """Turns a proposal into knowledge: creates its row, or links the existing row of exactly that name.

    With `changes` the proposal is corrected and approved at once. The proposal then holds the corrected values, the audit
    log keeps the proposed values, and an undo restores them. If somebody else has already approved the proposal, nothing
    is corrected and `changed` is false. Status 422 names each field that this kind of proposal does not have.
    """
    changes = request.changes.model_dump(exclude_unset=True) if request and request.changes else None
    return await _decide(service, who, request, "approve", proposal_id, changes=changes)


@proposals.post("/proposals/{proposal_id}/reject", tags=["review"], responses=responses(404, 409, 422))
async def reject(
    service: Service, who: AnyCaller, proposal_id: UUID, request: models.Review | None = None
) -> models.Decided:
    """Rejects a proposal; it stays on record."""
    return await _decide(service, who, request, "reject", proposal_id)


@proposals.post("/proposals/{proposal_id}/merge", tags=["review"], responses=responses(404, 409, 422))
async def merge(service: Service, who: AnyCaller, proposal_id: UUID, request: models.MergeReview) -> models.Decided:
    """Merges a proposal into an existing topic or atom, which keeps its values."""
    return await _decide(service, who, request, "merge", proposal_id, into_entity_id=request.into_entity_id)


@proposals.post("/proposals/{proposal_id}/undo", tags=["review"], responses=responses(404, 409, 422))
async def undo(
    service: Service, who: AnyCaller, proposal_id: UUID, request: models.Review | None = None
) -> models.Decided:
    """Undoes the last decision about a proposal: it is pending again, and only a reviewer can approve it.

    The row that an approval created is removed; the audit log keeps its values. Status 409 if somebody has changed the row
    or refers to it since the approval: `detail` says what changed and what to do, and nothing is undone.
    """
    return await _decide(service, who, request, "undo", proposal_id)


async def _decide(
    service: KnowledgeService,
    who: Caller,
    request: models.Review | None,
    action: Action,
    proposal_id: UUID,
    **options: Any,
) -> models.Decided:
    reviewer = Reviewer(who.name, request.user_id if request else None, request.notes if request else None)
    decision = await decide(service, action, proposal_id, reviewer, **options)
    return models.Decided(
        proposal_id=decision.proposal_id,
        entity_type=decision.kind.name,
        status=decision.status,
        entity_id=decision.entity_id,
        changed=decision.changed,
    )


def _as_utc(moment: datetime | None) -> datetime | None:
    """A time without a zone is in UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


router.include_router(proposals)
