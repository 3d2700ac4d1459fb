"""Everything that a reviewer needs to see of one proposal, in at most five statements that each go by an index.

Where it comes from, what it is similar to and how it differs from that, who decided about it, what to be careful about.
Reads only. What was deleted meanwhile (messages, topics, the similar row) is missing and said to be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.audit import proposal_subject
from knowledge_migration.knowledge.entity_kinds import APPROVED, KIND_BY_NAME, TOPIC, EntityKind
from knowledge_migration.knowledge.proposals.differences import FieldDifference, differences
from knowledge_migration.knowledge.proposals.explaining import (
    doubts_about_messages,
    doubts_about_topics,
    doubts_about_values,
    why_similar,
)
from knowledge_migration.knowledge.proposals.history import AUTOMATIC, full_name
from knowledge_migration.knowledge.proposals.listing import one_proposal
from knowledge_migration.knowledge.proposals.review import DECIDABLE
from knowledge_migration.knowledge.tables import audit_log, messages, topics, users
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs

MOST_MESSAGES = 20
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Thresholds:
    """The confidences from which a proposal is approved without a reviewer, and from which direct mode would write."""

    auto_approve: float = 0.95
    direct: float = 0.7


STRATEGY = Thresholds()


@dataclass(frozen=True)
class RunSeen:
    """The extraction that it comes from."""

    id: UUID
    created_at: datetime
    extractor: str | None
    mode: str | None
    message_count: int


@dataclass(frozen=True)
class SourceMessage:
    """A message that it was made of; `sent_at` has no zone, as the application stores it."""

    id: int
    content: str
    sent_at: datetime
    author: str


@dataclass(frozen=True)
class ProposedTopic:
    """A topic that an atom is to stand under: a number is a topic, a text the id of a topic proposal.

    `state`: topic (it exists), or that of its proposal (auto_approved is approved); gone where there is no such row any
    more, also where it was approved or merged and the row that it stood for was deleted.
    """

    reference: int | str
    name: str | None
    state: str


@dataclass(frozen=True)
class SimilarRow:
    """The existing row that it resembles; score and type are None where a reviewer chose the row."""

    id: int
    values: dict[str, Any]
    score: float | None
    type: str | None
    differences: tuple[FieldDifference, ...]
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True)
class Decided:
    """Who decided what; `automatic` if nobody looked at it."""

    by: str
    at: datetime | None
    action: str | None
    status: str
    notes: str | None
    automatic: bool


@dataclass(frozen=True)
class ProposalDetail:
    """One proposal and all that belongs to it; `message_total` counts those that still exist."""

    proposal: dict[str, Any]
    kind: EntityKind
    run: RunSeen
    messages: tuple[SourceMessage, ...]
    message_total: int
    messages_are_of: Literal["proposal", "run"]
    topics: tuple[ProposedTopic, ...]
    similar: SimilarRow | None
    similar_gone: bool
    why: str
    decided: Decided | None
    entity: dict[str, Any] | None
    doubt: tuple[str, ...]


def proposal_detail(connection: sa.Connection, proposal_id: UUID, thresholds: Thresholds = STRATEGY) -> ProposalDetail:
    """Everything about one proposal; raises `UnknownError`. What is doubtful is only said while it can be decided about."""
    proposal = one_proposal(connection, proposal_id)
    kind = KIND_BY_NAME[proposal["entity_type"]]
    beside = _beside(connection, kind, proposal)
    own_ids = _own_message_ids(kind, proposal)
    message_ids = own_ids or _ids(beside["run_message_ids"])
    found, total = _messages(connection, message_ids)
    proposed_topics = _topics(connection, proposal.get("proposed_topic_ids") or ())
    similar, similar_gone = _similar(kind, proposal, beside), _similar_gone(proposal, beside)
    doubt = [
        *doubts_about_values(
            kind,
            proposal,
            is_similar=similar is not None,
            direct=thresholds.direct,
            auto_approve=thresholds.auto_approve,
        ),
        *doubts_about_topics([(topic.name, topic.state) for topic in proposed_topics]),
        *doubts_about_messages(len(message_ids), total, of_the_run=not own_ids),
    ]
    return ProposalDetail(
        proposal=proposal,
        kind=kind,
        run=_run(beside),
        messages=found,
        message_total=total,
        messages_are_of="proposal" if own_ids else "run",
        topics=proposed_topics,
        similar=similar,
        similar_gone=similar_gone,
        why=_why(kind, proposal, similar, similar_gone),
        decided=_decided(proposal, beside),
        entity=_row(kind, beside, "entity"),
        doubt=tuple(doubt) if proposal["status"] in DECIDABLE else (),
    )


def _beside(connection: sa.Connection, kind: EntityKind, proposal: Mapping[str, Any]) -> sa.RowMapping:
    """Its run, the row that it is similar to, the row that it stands for, its reviewer: all by their keys."""
    similar, entity = kind.entities.alias("similar"), kind.entities.alias("entity")
    shown = ("id", *kind.values, "created_at", "updated_at")
    last = (
        sa.select(audit_log.c.actor)
        .where(audit_log.c.subject == proposal_subject(kind, proposal["id"]))
        .order_by(audit_log.c.id.desc())
        .limit(1)
    )
    query = (
        sa.select(
            runs.c.id.label("run_id"),
            runs.c.created_at.label("run_created_at"),
            runs.c.settings.label("run_settings"),
            runs.c.message_count.label("run_message_count"),
            runs.c.message_ids.label("run_message_ids"),
            users.c.first_name,
            users.c.last_name,
            last.scalar_subquery().label("actor"),
            *(row.c[name].label(f"{row.name}_{name}") for row in (similar, entity) for name in shown),
        )
        .select_from(runs)
        .outerjoin(similar, similar.c.id == proposal["similar_entity_id"])
        .outerjoin(entity, entity.c.id == proposal["entity_id"])
        .outerjoin(users, users.c.id == proposal["reviewed_by_user_id"])
        .where(runs.c.id == proposal["extraction_run_id"])
    )
    return connection.execute(query).mappings().one()


def _run(beside: sa.RowMapping) -> RunSeen:
    settings = beside["run_settings"] if isinstance(beside["run_settings"], dict) else {}
    return RunSeen(
        beside["run_id"],
        beside["run_created_at"],
        settings.get("extractor"),
        settings.get("mode"),
        beside["run_message_count"],
    )


def _own_message_ids(kind: EntityKind, proposal: Mapping[str, Any]) -> list[int]:
    """The messages that it names itself: a topic in a column of its own, an atom in its meta (`direct.atom_values`)."""
    if kind is TOPIC:
        return _ids(proposal["message_ids"])
    meta = proposal["meta"]
    return _ids(meta.get("message_ids")) if isinstance(meta, dict) else []


def _ids(stored: Any) -> list[int]:
    """Ids of rows; the meta of a user's atom may hold anything under that name."""
    found = stored if isinstance(stored, list) else []
    return list(dict.fromkeys(one for one in found if type(one) is int and 0 < one <= LARGEST_ID))


def _messages(connection: sa.Connection, ids: Sequence[int]) -> tuple[tuple[SourceMessage, ...], int]:
    """The oldest of these, and how many of them there are."""
    if not ids:
        return (), 0
    columns = (messages.c.id, messages.c.content, messages.c.sent_at, users.c.first_name, users.c.last_name)
    query = (
        sa.select(*columns, sa.func.count().over().label("total"))
        .select_from(messages.outerjoin(users, users.c.id == messages.c.author_id))
        .where(messages.c.id == sa.any_(sa.literal(ids, sa.ARRAY(sa.BigInteger))))
        .order_by(messages.c.sent_at, messages.c.id)
        .limit(MOST_MESSAGES)
    )
    rows = connection.execute(query).all()
    found = (SourceMessage(row.id, row.content, row.sent_at, full_name(row.first_name, row.last_name)) for row in rows)
    return tuple(found), rows[0].total if rows else 0


def _topics(connection: sa.Connection, references: Sequence[Any]) -> tuple[ProposedTopic, ...]:
    """What has become of each, in their order."""
    wanted = list(dict.fromkeys(one for one in references if isinstance(one, int | str)))
    numbers = _ids(wanted)
    uuids = [uuid for one in wanted if isinstance(one, str) and (uuid := _uuid(one))]
    if not wanted:
        return ()
    existing = sa.select(
        sa.cast(topics.c.id, sa.Text).label("key"), topics.c.name, sa.literal("topic").label("state")
    ).where(topics.c.id == sa.any_(sa.literal(numbers, sa.ARRAY(sa.BigInteger))))
    columns, stands_for = TOPIC.proposals.c, TOPIC.entity_of
    lost = sa.and_(columns.status.in_((*APPROVED, "merged")), stands_for.is_(None))
    state = sa.case((lost, "gone"), (columns.status.in_(APPROVED), "approved"), else_=columns.status)
    proposed = (
        sa.select(sa.cast(columns.id, sa.Text), columns.name, state)
        .select_from(TOPIC.joined)
        .where(columns.id == sa.any_(sa.literal(uuids, sa.ARRAY(sa.UUID))))
    )
    found = {row.key: row for row in connection.execute(sa.union_all(existing, proposed))}
    return tuple(
        ProposedTopic(one, row.name, row.state) if (row := found.get(_key(one))) else ProposedTopic(one, None, "gone")
        for one in wanted
    )


def _key(reference: int | str) -> str:
    return str(reference if isinstance(reference, int) else _uuid(reference))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _row(kind: EntityKind, beside: sa.RowMapping, which: Literal["similar", "entity"]) -> dict[str, Any] | None:
    if beside[f"{which}_id"] is None:
        return None
    return {name: beside[f"{which}_{name}"] for name in ("id", *kind.values)}


def _similar(kind: EntityKind, proposal: Mapping[str, Any], beside: sa.RowMapping) -> SimilarRow | None:
    values = _row(kind, beside, "similar")
    if values is None:
        return None
    return SimilarRow(
        values.pop("id"),
        values,
        proposal["similarity_score"],
        proposal["similarity_type"],
        differences(kind, proposal, values),
        beside["similar_created_at"],
        beside["similar_updated_at"],
    )


def _similar_gone(proposal: Mapping[str, Any], beside: sa.RowMapping) -> bool:
    """Whether it was flagged with a row, or merged into one, that does not exist any more."""
    named = proposal["similarity_type"] is not None or proposal["status"] == "merged"
    return named and beside["similar_id"] is None


def _why(kind: EntityKind, proposal: Mapping[str, Any], similar: SimilarRow | None, gone: bool) -> str:
    if gone:
        return f"The {kind.name} that it was similar to has been deleted since."
    if similar is None:
        return ""
    labels = (proposal[kind.label], similar.values[kind.label])
    differing = [one.field for one in similar.differences if not one.same]
    return why_similar(kind, similar.type, similar.score, labels, differing)


def _decided(proposal: Mapping[str, Any], beside: sa.RowMapping) -> Decided | None:
    if proposal["status"] == "pending":
        return None
    action = proposal["review_action"]
    by_a_user = proposal["reviewed_by_user_id"] is not None
    name = full_name(beside["first_name"], beside["last_name"])
    return Decided(
        by=name or beside["actor"] or "the system",
        at=proposal["reviewed_at"],
        action=action,
        status=proposal["status"],
        notes=proposal["review_notes"],
        automatic=action in AUTOMATIC or (action == "park" and not by_a_user),
    )
