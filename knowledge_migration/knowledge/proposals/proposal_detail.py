"""Everything that a reviewer needs to see of one proposal, in at most five statements that each use an index. Reads only.

Its origin, the similar row and the differences, who decided about it, and what to check. What was deleted meanwhile
(messages, topics, the similar row) is missing and reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.audit import proposal_subject
from knowledge_migration.knowledge.entity_kinds import APPROVED, KIND_BY_NAME, TOPIC, EntityKind
from knowledge_migration.knowledge.proposals.explaining import FieldDifference, differences, doubts_about, why_similar
from knowledge_migration.knowledge.proposals.history import full_name, is_automatic
from knowledge_migration.knowledge.proposals.listing import one_proposal
from knowledge_migration.knowledge.proposals.review import DECIDABLE
from knowledge_migration.knowledge.tables import audit_log, messages, topics, users
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.values import HIGHEST_ID, LOWEST_ID

MOST_MESSAGES = 20


@dataclass(frozen=True)
class Thresholds:
    """The confidences from which a proposal is approved without a reviewer, and from which direct mode writes."""

    auto_approve: float = 0.95
    direct: float = 0.7


STRATEGY = Thresholds()


@dataclass(frozen=True)
class RunSeen:
    """The extraction of the proposal."""

    id: UUID
    created_at: datetime
    extractor: str | None
    mode: str | None
    message_count: int


@dataclass(frozen=True)
class SourceMessage:
    """A source message; `sent_at` has no zone, as the application stores it."""

    id: int
    content: str
    sent_at: datetime
    author: str


@dataclass(frozen=True)
class ProposedTopic:
    """A topic that an atom was proposed for: a number is a topic, a text the id of a topic proposal.

    `state`: topic (it exists), or that of its proposal (auto_approved is approved); gone where the row does not exist, also
    where the proposal was approved or merged and its row was deleted.
    """

    reference: int | str
    name: str | None
    state: str


@dataclass(frozen=True)
class SimilarRow:
    """The existing similar row; score and type are None where a reviewer chose it."""

    id: int
    values: dict[str, Any]
    score: float | None
    type: str | None
    differences: tuple[FieldDifference, ...]
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True)
class Decided:
    """Who decided what; `automatic` if no person did."""

    by: str
    at: datetime | None
    action: str | None
    status: str
    notes: str | None
    automatic: bool


@dataclass(frozen=True)
class ProposalDetail:
    """One proposal and all that belongs to it; `message_total` counts the messages that still exist."""

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
    """Everything about one proposal; raises `UnknownError`. Doubts are listed only while it can be decided about."""
    proposal = one_proposal(connection, proposal_id)
    kind = KIND_BY_NAME[proposal["entity_type"]]
    related = _related_rows(connection, kind, proposal)
    own_ids = _own_message_ids(kind, proposal)
    message_ids = own_ids or _ids(related["run_message_ids"])
    source_messages, total = _messages(connection, message_ids)
    proposed_topics = _topics(connection, proposal.get("proposed_topic_ids") or ())
    similar = _similar(kind, proposal, related)
    flagged = proposal["similarity_type"] is not None or proposal["status"] == "merged"
    similar_gone = flagged and related["similar_id"] is None
    doubts = doubts_about(
        kind,
        proposal,
        is_similar=similar is not None,
        direct=thresholds.direct,
        auto_approve=thresholds.auto_approve,
        topics=[(topic.name, topic.state) for topic in proposed_topics],
        messages=(len(message_ids), total, "it comes from" if own_ids else "of its extraction"),
    )
    settings = related["run_settings"] if isinstance(related["run_settings"], dict) else {}
    stated = (related["run_id"], related["run_created_at"], settings.get("extractor"), settings.get("mode"))
    return ProposalDetail(
        proposal=proposal,
        kind=kind,
        run=RunSeen(*stated, related["run_message_count"]),
        messages=source_messages,
        message_total=total,
        messages_are_of="proposal" if own_ids else "run",
        topics=proposed_topics,
        similar=similar,
        similar_gone=similar_gone,
        why=_why(kind, proposal, similar, similar_gone),
        decided=_decided(proposal, related),
        entity=_row(kind, related, "entity"),
        doubt=tuple(doubts) if proposal["status"] in DECIDABLE else (),
    )


def _related_rows(connection: sa.Connection, kind: EntityKind, proposal: Mapping[str, Any]) -> sa.RowMapping:
    """The run, the similar row, the row that the proposal represents, the reviewer: all by their keys."""
    similar, entity = kind.entities.alias("similar"), kind.entities.alias("entity")
    shown = ("id", *kind.values, "created_at", "updated_at")
    entry = audit_log.c
    actor = sa.select(entry.actor).where(entry.subject == proposal_subject(kind, proposal["id"]))
    run_columns = ("id", "created_at", "settings", "message_count", "message_ids")
    query = (
        sa.select(
            *(runs.c[name].label(f"run_{name}") for name in run_columns),
            users.c.first_name,
            users.c.last_name,
            actor.order_by(entry.id.desc()).limit(1).scalar_subquery().label("actor"),
            *(row.c[name].label(f"{row.name}_{name}") for row in (similar, entity) for name in shown),
        )
        .select_from(runs)
        .outerjoin(similar, similar.c.id == proposal["similar_entity_id"])
        .outerjoin(entity, entity.c.id == proposal["entity_id"])
        .outerjoin(users, users.c.id == proposal["reviewed_by_user_id"])
        .where(runs.c.id == proposal["extraction_run_id"])
    )
    return connection.execute(query).mappings().one()


def _own_message_ids(kind: EntityKind, proposal: Mapping[str, Any]) -> list[int]:
    """The messages that the proposal names: a topic in its own column, an atom in its meta (`direct.atom_values`)."""
    if kind is TOPIC:
        return _ids(proposal["message_ids"])
    meta = proposal["meta"]
    return _ids(meta.get("message_ids")) if isinstance(meta, dict) else []


def _ids(stored: Any) -> list[int]:
    """Ids of rows; the meta of a user's atom may hold anything under that name."""
    values = stored if isinstance(stored, list) else []
    return list(dict.fromkeys(one for one in values if type(one) is int and LOWEST_ID <= one <= HIGHEST_ID))


def _messages(connection: sa.Connection, ids: Sequence[int]) -> tuple[tuple[SourceMessage, ...], int]:
    """The oldest of these, and how many of them exist."""
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
    oldest = (SourceMessage(row.id, row.content, row.sent_at, full_name(row.first_name, row.last_name)) for row in rows)
    return tuple(oldest), rows[0].total if rows else 0


def _topics(connection: sa.Connection, references: Sequence[Any]) -> tuple[ProposedTopic, ...]:
    """The present state of each, in their order."""
    wanted = list(dict.fromkeys(one for one in references if isinstance(one, int | str)))
    if not wanted:
        return ()
    uuids = [uuid for one in wanted if isinstance(one, str) and (uuid := _uuid(one))]
    existing = sa.select(
        sa.cast(topics.c.id, sa.Text).label("key"), topics.c.name, sa.literal("topic").label("state")
    ).where(topics.c.id == sa.any_(sa.literal(_ids(wanted), sa.ARRAY(sa.BigInteger))))
    columns = TOPIC.proposals.c
    lost = sa.and_(columns.status.in_((*APPROVED, "merged")), TOPIC.entity_of.is_(None))
    state = sa.case((lost, "gone"), (columns.status.in_(APPROVED), "approved"), else_=columns.status)
    proposed = (
        sa.select(sa.cast(columns.id, sa.Text), columns.name, state)
        .select_from(TOPIC.joined)
        .where(columns.id == sa.any_(sa.literal(uuids, sa.ARRAY(sa.UUID))))
    )
    rows = {row.key: row for row in connection.execute(sa.union_all(existing, proposed))}
    keys = [(one, str(one if isinstance(one, int) else _uuid(one))) for one in wanted]
    return tuple(
        ProposedTopic(one, rows[key].name, rows[key].state) if key in rows else ProposedTopic(one, None, "gone")
        for one, key in keys
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _row(kind: EntityKind, related: sa.RowMapping, which: Literal["similar", "entity"]) -> dict[str, Any] | None:
    if related[f"{which}_id"] is None:
        return None
    return {name: related[f"{which}_{name}"] for name in ("id", *kind.values)}


def _similar(kind: EntityKind, proposal: Mapping[str, Any], related: sa.RowMapping) -> SimilarRow | None:
    values = _row(kind, related, "similar")
    if values is None:
        return None
    return SimilarRow(
        values.pop("id"),
        values,
        proposal["similarity_score"],
        proposal["similarity_type"],
        differences(kind, proposal, values),
        related["similar_created_at"],
        related["similar_updated_at"],
    )


def _why(kind: EntityKind, proposal: Mapping[str, Any], similar: SimilarRow | None, gone: bool) -> str:
    if gone:
        return f"The {kind.name} that it was similar to has been deleted since."
    if similar is None:
        return ""
    labels = (proposal[kind.label], similar.values[kind.label])
    differing = [one.field for one in similar.differences if not one.same]
    return why_similar(kind, similar.type, similar.score, labels, differing)


def _decided(proposal: Mapping[str, Any], related: sa.RowMapping) -> Decided | None:
    if proposal["status"] == "pending":
        return None
    action = proposal["review_action"]
    name = full_name(related["first_name"], related["last_name"])
    return Decided(
        by=name or related["actor"] or "the system",
        at=proposal["reviewed_at"],
        action=action,
        status=proposal["status"],
        notes=proposal["review_notes"],
        automatic=is_automatic(action, proposal["reviewed_by_user_id"]),
    )
