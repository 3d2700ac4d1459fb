"""What the API takes and gives. Texts cannot hold NUL, which PostgreSQL cannot store; numbers fit its columns."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from knowledge_migration.knowledge.entity_kinds import EntityName
from knowledge_migration.knowledge.extraction.model import AtomType
from knowledge_migration.knowledge.flags import Flags, Mode, State
from knowledge_migration.knowledge.proposals.editing import AtomCorrection, TopicCorrection
from knowledge_migration.knowledge.stages import FlagRollback
from knowledge_migration.knowledge.values import (
    LONGEST_REASON,
    Color,
    Confidence,
    Icon,
    Meta,
    Name,
    Text,
    Title,
    storable,
)

T = TypeVar("T")

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
UserId = Annotated[int, Field(ge=1, le=2**63 - 1, description="A user of the application.", examples=[1])]
SearchText = Annotated[str, StringConstraints(max_length=200), AfterValidator(storable)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemList(BaseModel, Generic[T]):
    """One page; `next_cursor` begins the next one and is null at the end."""

    items: list[T]
    next_cursor: str | None = None


class Topic(BaseModel):
    """A subject that atoms belong to."""

    id: int
    name: str
    description: str
    icon: str | None
    color: str | None
    created_at: datetime | None
    updated_at: datetime | None


class NewTopic(_Body):
    """A topic to create; its name must be free."""

    name: Name
    description: Text
    icon: Icon | None = "FolderIcon"
    color: Color | None = "#64748B"


class TopicChange(_Body):
    """What to change; what is left out stays."""

    name: Name = Field(default="")
    description: Text = Field(default="")
    icon: Icon | None = None
    color: Color | None = None


class Atom(BaseModel):
    """A piece of knowledge."""

    id: int
    type: str
    title: str
    content: str
    confidence: float | None
    user_approved: bool
    meta: Any
    created_at: datetime | None
    updated_at: datetime | None


class NewAtom(_Body):
    """An atom to create, under these topics."""

    type: AtomType
    title: Title
    content: Text
    confidence: Confidence | None = None
    user_approved: bool = False
    meta: Meta | None = None
    topic_ids: list[Id] = Field(default_factory=list, max_length=100)


class AtomChange(_Body):
    """What to change; what is left out stays."""

    type: AtomType = Field(default="insight")
    title: Title = Field(default="")
    content: Text = Field(default="")
    confidence: Confidence | None = None
    user_approved: bool = False
    meta: Meta | None = None


class ExtractionRequest(_Body):
    """Which messages to extract knowledge from, and for whom."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"message_ids": [1, 2, 3], "user_id": 1}]}
    )

    message_ids: list[Id] = Field(min_length=1, max_length=500)
    user_id: UserId | None = None


class ExtractionResult(BaseModel):
    """What an extraction wrote: rows in direct mode and dual write, proposals in dual write and proposal mode."""

    run_id: UUID | None = Field(description="Null only before the migration's phase 1.")
    mode: Mode
    topic_ids: list[int] = Field(description="Topics that stand now, existing ones that were matched included.")
    atom_ids: list[int]
    topic_proposal_ids: list[UUID]
    atom_proposal_ids: list[UUID]
    auto_approved: int = Field(description="How many proposals were approved at once.")


class Proposal(BaseModel):
    """A proposed topic or atom, and what became of it."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    entity_type: EntityName
    extraction_run_id: UUID
    status: str
    confidence: float | None = Field(description="0 to 1; null for a copy of a row that states none.")
    reasoning: str | None
    entity_id: int | None = Field(description="The topic or atom that it stands for, if any.")
    similar_entity_id: int | None = Field(description="The existing one it is similar to.")
    similarity_score: float | None
    similarity_type: str | None = Field(description="exact, spelling or meaning.")
    review_action: str | None
    reviewed_at: datetime | None
    reviewed_by_user_id: int | None
    review_notes: str | None
    created_at: datetime
    name: str | None = Field(default=None, description="Of a topic.")
    description: str | None = None
    icon: str | None = None
    color: str | None = None
    message_ids: list[int] | None = None
    type: str | None = Field(default=None, description="Of an atom.")
    title: str | None = None
    content: str | None = None
    meta: Any = None
    proposed_topic_ids: list[int | str] | None = Field(
        default=None, description="A number is a topic, a text the id of a topic proposal."
    )
    proposed_links: list[dict[str, str]] | None = None


class Run(BaseModel):
    """One extraction: when, in which mode, of what, with what result."""

    id: UUID
    status: str
    message_ids: list[int]
    message_count: int
    time_span_seconds: int | None
    settings: dict[str, Any] | None
    started_at: datetime | None
    completed_at: datetime | None
    error_message: str | None
    created_by_user_id: int | None
    created_at: datetime
    topic_proposal_count: int
    atom_proposal_count: int


class Review(_Body):
    """Who decides, and why; both optional."""

    user_id: UserId | None = None
    notes: Annotated[str, StringConstraints(max_length=LONGEST_REASON), AfterValidator(storable)] | None = None


class Correction(TopicCorrection, AtomCorrection):
    """What to correct of a proposal; what is left out stays.

    Of a topic name, description, icon and color, of an atom type, title, content and meta; 422 for what the other has.
    """


class ApprovalReview(Review):
    """Who approves, why, and what is corrected with it; all optional."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"user_id": 1, "changes": {"name": "Backups", "description": "How we do them"}}]
        },
    )

    changes: Correction | None = Field(
        default=None, description="Values that replace the proposed ones, in the same transaction."
    )


class MergeReview(Review):
    """Into which existing topic or atom a proposal is merged."""

    into_entity_id: Id


class BulkReview(Review):
    """One decision about many proposals."""

    action: Literal["approve", "reject", "undo"]
    proposal_ids: list[UUID] = Field(min_length=1, max_length=200)


class Decided(BaseModel):
    """What became of a proposal."""

    proposal_id: UUID
    entity_type: EntityName
    status: str
    entity_id: int | None = Field(description="The topic or atom that it stands for now.")
    changed: bool = Field(description="False when it was so already.")


class PastDecision(BaseModel):
    """A decision about a proposal, as the audit log has it, and where the proposal stands now."""

    audit_id: int
    at: datetime
    actor: str
    who: str = Field(description="The name of the user who decided, else the actor.")
    action: str
    automatic: bool = Field(description="Whether nobody looked at the proposal.")
    proposal_id: UUID
    entity_type: EntityName
    label: str | None = Field(description="The name or title that was proposed; null if the proposal is gone.")
    status_now: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    can_undo: bool = Field(
        description="Whether it is the last decision about the proposal, and one that undo takes back."
    )


class Undecided(BaseModel):
    """Why one proposal of many was not decided about."""

    proposal_id: UUID
    status: int
    detail: str


class BulkResult(BaseModel):
    """What became of each; one that fails does not stop the others."""

    decided: list[Decided]
    undecided: list[Undecided]


class FlagsNow(BaseModel):
    """The flags that this process obeys."""

    flags: Flags
    state: State
    problem: str | None = Field(description="Why they may not be the newest, if so.")


class FlagsChange(_Body):
    """Which flags to change, by the strategy's names, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"flags": {"knowledge_proposals_cutover_percentage": 50}, "reason": "second day of the rollout"}
            ]
        },
    )

    flags: Meta = Field(min_length=1)
    reason: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_REASON), AfterValidator(storable)]
    expected_version: int | None = Field(default=None, ge=0, le=2**63 - 1, description="Refuse if somebody was faster.")


class RollbackRequest(_Body):
    """Which way back, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"way": "instant", "reason": "errors in proposal mode"}]}
    )

    way: FlagRollback = Field(description="instant: proposals off, dual write on. partial: proposals for a tenth only.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_REASON), AfterValidator(storable)]
    expected_version: int | None = Field(default=None, ge=0, le=2**63 - 1, description="Refuse if somebody was faster.")


class RollbackResult(BaseModel):
    """The flags before and after; `stranded` proposals (null: not counted) are replayed or parked in the background."""

    before: Flags
    after: Flags
    state: State
    stranded: int | None


class Health(BaseModel):
    """Whether the service can work, and where the migration stands."""

    status: Literal["ok", "degraded"]
    database: Literal["reachable", "unreachable"]
    process: str
    flag_version: int
    state: State
    flags_problem: str | None
    schema_revision: str | None = Field(description="Of the migration; null before it began.")
    backfill: str | None = Field(description="Status of the backfill's run; null before it began.")
    pending_proposals: int | None
    open_shadow_failures: int | None
