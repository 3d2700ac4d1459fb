"""Request and response models. Texts cannot contain NUL, which PostgreSQL cannot store; numbers fit its columns."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from knowledge_migration.knowledge.entity_kinds import EntityName
from knowledge_migration.knowledge.extraction.model import AtomType, ExtractedTopic, GivenAtom
from knowledge_migration.knowledge.flags import Flags, Mode, State
from knowledge_migration.knowledge.proposals.editing import AtomCorrection, TopicCorrection
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.knowledge.values import (
    HIGHEST_ID,
    LONGEST_REASON,
    LOWEST_ID,
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

Id = Annotated[int, Field(ge=LOWEST_ID, le=HIGHEST_ID)]
UserId = Annotated[int, Field(ge=LOWEST_ID, le=HIGHEST_ID, description="A user of the application.", examples=[1])]
Limit = Annotated[int, Query(ge=1, le=200, description="Number of items per page.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the previous page.")]
SearchText = Annotated[str, StringConstraints(max_length=200), AfterValidator(storable)]
Notes = Annotated[str, StringConstraints(max_length=LONGEST_REASON), AfterValidator(storable)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_REASON), AfterValidator(storable)]


def _examples(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemList(BaseModel, Generic[T]):
    """One page; `next_cursor` requests the next page and is null on the last one."""

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


class TopicChange(_Body):
    """The values to change; omitted values stay."""

    name: Name = Field(default="")
    description: Text = Field(default="")
    icon: Icon | None = None
    color: Color | None = None


class NewTopic(TopicChange):
    """A topic to create; no other topic may have its name."""

    name: Name
    description: Text
    icon: Icon | None = "FolderIcon"
    color: Color | None = "#64748B"


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


class AtomChange(_Body):
    """The values to change; omitted values stay."""

    type: AtomType = Field(default="insight")
    title: Title = Field(default="")
    content: Text = Field(default="")
    confidence: Confidence | None = None
    user_approved: bool = False
    meta: Meta | None = None


class NewAtom(AtomChange):
    """An atom to create, and its topics."""

    type: AtomType
    title: Title
    content: Text
    topic_ids: list[Id] = Field(default_factory=list, max_length=100)


class ExtractionRequest(_Body):
    """The messages to extract knowledge from, and the user."""

    model_config = _examples({"message_ids": [1, 2, 3], "user_id": 1})

    message_ids: list[Id] = Field(min_length=1, max_length=500)
    user_id: UserId | None = None


class GivenExtractionRequest(ExtractionRequest):
    """What an application has extracted from messages by itself."""

    model_config = _examples(
        {
            "message_ids": [1, 2],
            "user_id": 1,
            "topics": [{"name": "Backups", "description": "How we back up.", "confidence": 0.9}],
            "atoms": [
                {
                    "type": "decision",
                    "title": "Nightly backups",
                    "content": "We back up every night.",
                    "topic_name": "Backups",
                    "confidence": 0.9,
                }
            ],
        }
    )

    topics: list[ExtractedTopic] = Field(default_factory=list, max_length=500)
    atoms: list[GivenAtom] = Field(default_factory=list, max_length=2_000)
    extractor: Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(storable)] = "application"
    extraction_seconds: float = Field(
        default=0.0, ge=0, le=86_400, description="How long the model took, for the gates."
    )


class ExtractionResult(BaseModel):
    """The rows and proposals that an extraction wrote: rows in direct mode, proposals in proposal mode, both in dual write."""

    run_id: UUID | None = Field(description="Null only before the migration's phase 1.")
    mode: Mode
    topic_ids: list[int] = Field(description="Created topics and matched existing topics.")
    atom_ids: list[int]
    topic_proposal_ids: list[UUID]
    atom_proposal_ids: list[UUID]
    auto_approved: int = Field(description="Number of proposals that were approved at once.")


class Proposal(BaseModel):
    """A proposed topic or atom, and its status."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    entity_type: EntityName
    extraction_run_id: UUID
    status: str
    confidence: float | None = Field(description="0 to 1; null for a copy of a row without a confidence.")
    reasoning: str | None
    entity_id: int | None = Field(description="The topic or atom of this proposal, if any.")
    similar_entity_id: int | None = Field(description="The existing topic or atom that this proposal is similar to.")
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
        default=None, description="A number is the id of a topic; a string is the id of a topic proposal."
    )
    proposed_links: list[dict[str, str]] | None = None


class Run(BaseModel):
    """One extraction: its time, mode, messages and result."""

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
    topic_proposal_count: int = Field(description="At most 10,000; more are not counted.")
    atom_proposal_count: int = Field(description="At most 10,000; more are not counted.")


class Review(_Body):
    """The reviewer and the reason; both optional."""

    user_id: UserId | None = None
    notes: Notes | None = None


class Correction(TopicCorrection, AtomCorrection):
    """The corrected values of a proposal; omitted values stay.

    A topic has name, description, icon and color; an atom has type, title, content and meta. Other fields are refused (422).
    """


class ApprovalReview(Review):
    """The reviewer, the reason and corrections; all optional."""

    model_config = _examples({"user_id": 1, "changes": {"name": "Backups", "description": "How we do them"}})

    changes: Correction | None = Field(
        default=None, description="Values that replace the proposed ones, in the same transaction."
    )


class MergeReview(Review):
    """The existing topic or atom that a proposal is merged into."""

    into_entity_id: Id


class BulkReview(Review):
    """One decision about many proposals."""

    action: Literal["approve", "reject", "undo"]
    proposal_ids: list[UUID] = Field(min_length=1, max_length=200)


class Decided(BaseModel):
    """The status of a proposal after a decision."""

    proposal_id: UUID
    entity_type: EntityName
    status: str
    entity_id: int | None = Field(description="The topic or atom of the proposal now.")
    changed: bool = Field(description="False if the proposal already had this status.")


class PastDecision(BaseModel):
    """A decision about a proposal from the audit log, and the current status of the proposal."""

    audit_id: int
    at: datetime
    actor: str
    who: str = Field(description="The name of the user who decided; the actor if unknown.")
    action: str
    automatic: bool = Field(description="Whether no person decided.")
    proposal_id: UUID
    entity_type: EntityName
    label: str | None = Field(description="The proposed name or title; null if the proposal was deleted.")
    status_now: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    can_undo: bool = Field(description="Whether this is the last decision about the proposal and can be undone.")


class Undecided(BaseModel):
    """The reason why one proposal was not decided."""

    proposal_id: UUID
    status: int
    detail: str


class BulkResult(BaseModel):
    """The result for each proposal; a failure does not stop the others."""

    decided: list[Decided]
    undecided: list[Undecided]


class FlagsNow(BaseModel):
    """The flags that this process has applied."""

    flags: Flags
    state: State
    problem: str | None = Field(description="The reason why the flags may be out of date, if any.")


class _Change(_Body):
    reason: Reason
    expected_version: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="The change is refused if the flags have another version."
    )


class FlagsChange(_Change):
    """The flags to change, by the strategy's names, and the reason."""

    model_config = _examples(
        {"flags": {"knowledge_proposals_cutover_percentage": 50}, "reason": "second day of the rollout"}
    )

    flags: Meta = Field(min_length=1)


class RollbackRequest(_Change):
    """The kind of rollback, and the reason."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"kind": "instant", "reason": "errors in proposal mode"}]}
    )

    kind: RollbackKind = Field(
        description="instant: proposals off, dual write on. partial: proposals for 10 % of users."
    )


class RollbackResult(BaseModel):
    """The flags before and after; `stranded` proposals (null: not counted) are replayed or parked in the background."""

    before: Flags
    after: Flags
    state: State
    stranded: int | None


class Health(BaseModel):
    """The state of the service and of the migration."""

    status: Literal["ok", "degraded"]
    database: Literal["reachable", "unreachable"]
    process: str
    flag_version: int
    state: State
    flags_problem: str | None
    schema_revision: str | None = Field(
        description="Revision of the migration; null before it began, and behind a pooler."
    )
    backfill: str | None = Field(description="Status of the backfill run; null before it began, and behind a pooler.")
    pending_proposals: int | None
    open_shadow_failures: int | None


class FaultRequest(_Body):
    """The mode, the share of its extractions that fail (0 to 1), and the duration in seconds."""

    model_config = ConfigDict(allow_inf_nan=False)

    mode: Mode
    share: Annotated[float, Field(ge=0, le=1)]
    seconds: Annotated[float, Field(gt=0, le=600)]


class FaultNow(BaseModel):
    """The active fault, if any."""

    mode: Mode | None = None
    share: float | None = None
    seconds: float | None = Field(default=None, description="Seconds until it ends.")
