"""Extraction, its runs, the proposals, and what reviewers decide about them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.api.access import AnyCaller, Caller, caller
from knowledge_migration.knowledge.api.context import Cursor, Limit, Service
from knowledge_migration.knowledge.api.models import (
    ApprovalReview,
    BulkResult,
    BulkReview,
    Decided,
    ExtractionRequest,
    ExtractionResult,
    ItemList,
    MergeReview,
    PastDecision,
    Proposal,
    Review,
    Run,
    SearchText,
    Undecided,
)
from knowledge_migration.knowledge.api.problems import responses
from knowledge_migration.knowledge.entity_kinds import EntityName
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals import history, listing, review
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration.knowledge.service import KnowledgeService

router = APIRouter(prefix="/knowledge", dependencies=[Depends(caller)], responses=responses(401, 403, 503))

Status = Literal["pending", "approved", "auto_approved", "rejected", "merged", "withdrawn", "parked"]
RunStatus = Literal["pending", "running", "completed", "failed"]
Share = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]


@router.post("/extract", tags=["extraction"], responses=responses(404, 422, 429, 502))
async def extract(service: Service, wanted: ExtractionRequest) -> ExtractionResult:
    """Extracts knowledge from messages, in the mode that the flags say for this user.

    Direct mode writes topics and atoms. Dual write does the same and writes proposals beside them. Proposal mode writes
    proposals only, and approves those of high confidence at once. 429 with Retry-After means that the review queue is
    full: nothing was extracted, the messages can be sent again.
    """
    written = await service.extract(wanted.message_ids, wanted.user_id)
    proposed = written.proposed
    return ExtractionResult(
        run_id=written.run_id,
        mode=written.mode,
        topic_ids=list(written.topic_ids),
        atom_ids=list(written.atom_ids),
        topic_proposal_ids=list(proposed.topic_proposal_ids) if proposed else [],
        atom_proposal_ids=list(proposed.atom_proposal_ids) if proposed else [],
        auto_approved=len(written.approved),
    )


@router.get("/runs", tags=["extraction"], responses=responses(422))
async def list_runs(
    service: Service,
    limit: Limit = 20,
    cursor: Cursor = None,
    status: Annotated[list[RunStatus] | None, Query()] = None,
) -> ItemList[Run]:
    """Extraction runs, newest first."""
    page = await service.in_transaction(listing.list_runs, limit, cursor, status or ())
    return ItemList[Run](items=[Run(**item) for item in page.items], next_cursor=page.next_cursor)


@router.get("/runs/{run_id}", tags=["extraction"], responses=responses(404, 422))
async def read_run(service: Service, run_id: UUID) -> Run:
    """One extraction run."""
    return Run(**await service.in_transaction(listing.one_run, run_id))


@router.get("/proposals", tags=["proposals"], responses=responses(422))
async def list_proposals(
    service: Service,
    limit: Limit = 50,
    cursor: Cursor = None,
    entity_type: Annotated[list[EntityName] | None, Query(description="Both kinds if left out.")] = None,
    status: Annotated[list[Status] | None, Query(description="Pending ones if left out.")] = None,
    sort: Annotated[
        Literal["confidence", "created_at"], Query(description="The most confident or the newest first.")
    ] = "confidence",
    min_confidence: Share = None,
    max_confidence: Share = None,
    min_similarity: Annotated[Share, Query(description="Only those similar to an existing row, this much.")] = None,
    run_id: UUID | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    text: Annotated[SearchText | None, Query(description="Contained in a text of the proposal, in any case.")] = None,
    similar: Annotated[bool | None, Query(description="Whether it is similar to an existing row.")] = None,
) -> ItemList[Proposal]:
    """Proposals, page by page."""
    wanted = listing.Wanted(
        kinds=tuple(dict.fromkeys(entity_type or ("topic", "atom"))),
        statuses=tuple(dict.fromkeys(status or ("pending",))),
        sort=sort,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        min_similarity=min_similarity,
        run_id=run_id,
        created_after=_with_zone(created_after),
        created_before=_with_zone(created_before),
        text=text,
        similar=similar,
    )
    page = await service.in_transaction(listing.list_proposals, wanted, limit, cursor)
    return ItemList[Proposal](items=[Proposal(**item) for item in page.items], next_cursor=page.next_cursor)


@router.post("/proposals/bulk", tags=["review"], responses=responses(422))
async def decide_about_many(service: Service, who: AnyCaller, wanted: BulkReview) -> BulkResult:
    """One decision about many proposals, each in a transaction of its own."""
    actions = {"approve": review.approve, "reject": review.reject, "undo": review.undo}
    decided, undecided = [], []
    for proposal_id in dict.fromkeys(wanted.proposal_ids):
        try:
            decided.append(await _decide(service, who, wanted, actions[wanted.action], proposal_id))
        except KnowledgeError as error:
            undecided.append(Undecided(proposal_id=proposal_id, status=error.status, detail=str(error)))
    return BulkResult(decided=decided, undecided=undecided)


@router.get("/proposals/{proposal_id}", tags=["proposals"], responses=responses(404, 422))
async def read_proposal(service: Service, proposal_id: UUID) -> Proposal:
    """One proposal."""
    return Proposal(**await service.in_transaction(listing.one_proposal, proposal_id))


@router.get("/decisions", tags=["review"], responses=responses(422))
async def list_decisions(service: Service, limit: Limit = 50, cursor: Cursor = None) -> ItemList[PastDecision]:
    """Decisions about proposals, newest first."""
    page = await service.in_transaction(history.list_decisions, limit, cursor)
    return ItemList[PastDecision](items=[PastDecision(**item) for item in page.items], next_cursor=page.next_cursor)


@router.post("/proposals/{proposal_id}/approve", tags=["review"], responses=responses(404, 409, 422))
async def approve(service: Service, who: AnyCaller, proposal_id: UUID, wanted: ApprovalReview | None = None) -> Decided:
    """Makes a proposal knowledge: creates its row, or stands for the existing one of exactly that name.

    With `changes` the proposal is corrected and approved at once: it then holds the corrected values, the audit log the
    proposed ones, and an undo brings those back. Where somebody else has approved it already nothing is corrected, and
    `changed` is false. 422 names what this kind of proposal does not have.
    """
    changes = wanted.changes.model_dump(exclude_unset=True) if wanted and wanted.changes else None

    def corrected(connection: sa.Connection, one: UUID, reviewer: Reviewer) -> Decision:
        return review.approve(connection, one, reviewer, changes=changes)

    return await _decide(service, who, wanted, corrected, proposal_id, action="approve")


@router.post("/proposals/{proposal_id}/reject", tags=["review"], responses=responses(404, 409, 422))
async def reject(service: Service, who: AnyCaller, proposal_id: UUID, wanted: Review | None = None) -> Decided:
    """Says that a proposal is no knowledge."""
    return await _decide(service, who, wanted, review.reject, proposal_id)


@router.post("/proposals/{proposal_id}/merge", tags=["review"], responses=responses(404, 409, 422))
async def merge(service: Service, who: AnyCaller, proposal_id: UUID, wanted: MergeReview) -> Decided:
    """Says that an existing topic or atom is meant; it keeps its values."""

    def into(connection: sa.Connection, one: UUID, reviewer: Reviewer) -> Decision:
        return review.merge(connection, one, wanted.into_entity_id, reviewer)

    return await _decide(service, who, wanted, into, proposal_id, action="merge")


@router.post("/proposals/{proposal_id}/undo", tags=["review"], responses=responses(404, 409, 422))
async def undo(service: Service, who: AnyCaller, proposal_id: UUID, wanted: Review | None = None) -> Decided:
    """Takes the last decision back."""
    return await _decide(service, who, wanted, review.undo, proposal_id)


async def _decide(
    service: KnowledgeService,
    who: Caller,
    wanted: Review | None,
    decide: Callable[..., Decision],
    proposal_id: UUID,
    action: str | None = None,
) -> Decided:
    reviewer = Reviewer(who.name, wanted.user_id if wanted else None, wanted.notes if wanted else None)
    decision: Decision = await service.in_transaction(decide, proposal_id, reviewer)
    if decision.changed:
        metrics.reviews.labels(action or decide.__name__, decision.kind.name).inc()
    values: dict[str, Any] = {
        "proposal_id": decision.proposal_id,
        "entity_type": decision.kind.name,
        "status": decision.status,
        "entity_id": decision.entity_id,
        "changed": decision.changed,
    }
    return Decided(**values)


def _with_zone(moment: datetime | None) -> datetime | None:
    """A time without a zone is meant in UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
