"""Undoes wrong approvals: of one run or of a period, by one reviewer or automatic (strategy §10.4).

Each is undone as a reviewer would, the newest first and what refers to a row before it, and waits for review again. A row that a
user has edited since, or to which something refers that stays, is kept. Backfilled and dual-written ones have their own rollback.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import InvalidError, KnowledgeError
from knowledge_migration.knowledge.proposals.kept_rows import since_approval
from knowledge_migration.knowledge.proposals.review import Reviewer, locked, one_by_one
from knowledge_migration.knowledge.proposals.undo import RowKeptError, undo
from knowledge_migration.knowledge.tables import audit_log

UNDOABLE = ("approve", "auto_approve")
OWN_ROLLBACK = {
    "auto_approve_migration": "they were backfilled (knowledge-migration rollback backfill)",
    "dual_write": "they were written beside direct writes (knowledge-migration rollback dual-write)",
}

Fate = Literal["removed", "returned", "kept"]
"""The proposal is pending again and its row removed; it is pending again and the row that it matched stays; nothing changes."""


@dataclass(frozen=True)
class WrongApprovals:
    """Selects approvals: of a run, or of a period, both ends included; of one reviewer (name or user id) or one action."""

    run_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    reviewer: str | None = None
    action: Literal["approve", "auto_approve"] | None = None


@dataclass(frozen=True)
class Approval:
    """One approval and its fate; `why` is the reason why a row is kept."""

    kind: EntityKind
    proposal_id: UUID
    label: str
    action: str
    reviewed_at: datetime
    entity_id: int | None
    fate: Fate
    why: str = ""


@dataclass(frozen=True)
class SelectedApprovals:
    """The approvals in the order in which they are undone; and how many were refused, by reason."""

    approvals: tuple[Approval, ...]
    refused: dict[str, int]


def find_approvals(connection: sa.Connection, wanted: WrongApprovals) -> SelectedApprovals:
    """The selected approvals and their fates. Reads only, without locks; raises `InvalidError` when nothing limits them."""
    if wanted.run_id is None and wanted.since is None:
        raise InvalidError("Say which approvals are wrong: those of a run, or those since a time.")
    waiting = [(kind, row) for kind in (ATOM, TOPIC) for row in _approved(connection, kind, wanted)]
    leaving = defaultdict[str, set[Any]](set)
    planned: list[Approval] = []
    while waiting:  # what refers to a row may itself be undone later in the same pass
        kept: list[tuple[EntityKind, sa.RowMapping, str]] = []
        for kind, row in waiting:
            own_id = row["own"]
            why = "" if own_id is None else since_approval(connection, kind, row, own_id, leaving, lock=False).why
            if why:
                kept.append((kind, row, why))
                continue
            planned.append(_approval(kind, row, "returned" if own_id is None else "removed"))
            leaving["proposal"].add(row["id"])
            leaving[kind.name].add(own_id)
        if len(kept) == len(waiting):
            planned += [_approval(kind, row, "kept", why) for kind, row, why in kept]
            break
        waiting = [(kind, row) for kind, row, _ in kept]
    return SelectedApprovals(tuple(planned), _refused(connection, wanted))


def undo_approvals(engine: sa.Engine, approvals: Sequence[Approval], reviewer: Reviewer) -> Iterator[Approval]:
    """Undoes these, each in its own transaction; yields each with its actual fate."""

    def work(connection: sa.Connection, approval: Approval) -> Approval:
        return approval if approval.fate == "kept" else _undo(connection, approval, reviewer)

    def kept(approval: Approval, error: KnowledgeError) -> Approval:
        return replace(approval, fate="kept", why=error.why if isinstance(error, RowKeptError) else str(error))

    return one_by_one(engine, approvals, work, kept)


def _undo(connection: sa.Connection, approval: Approval, reviewer: Reviewer) -> Approval:
    kind, proposal = locked(connection, approval.proposal_id, reviewer)
    if proposal["status"] not in APPROVED or proposal["reviewed_at"] != approval.reviewed_at:
        return replace(approval, fate="kept", why="somebody else has decided about it meanwhile")
    own = sa.select(kind.entities.c.id).where(kind.entities.c.migrated_from_proposal_id == proposal["id"])
    has_row = connection.execute(own).one_or_none() is not None
    undo(connection, approval.proposal_id, reviewer)
    return replace(approval, fate="removed" if has_row else "returned")


def _approval(kind: EntityKind, row: sa.RowMapping, fate: Fate, why: str = "") -> Approval:
    stated = (row["id"], row[kind.label], row["review_action"], row["reviewed_at"], row["entity"])
    return Approval(kind, *stated, fate, why)


def _approved(connection: sa.Connection, kind: EntityKind, wanted: WrongApprovals) -> Sequence[sa.RowMapping]:
    """The approvals of one kind, the newest first, with the row that each created (`own`) or represents (`entity`)."""
    columns = kind.proposals.c
    own, entity = kind.entities.c.id.label("own"), kind.entity_of.label("entity")
    query = (
        sa.select(kind.proposals, own, entity)
        .select_from(kind.joined)
        .where(*_conditions(kind, wanted), columns.review_action.in_(UNDOABLE))
        .order_by(columns.reviewed_at.desc(), columns.id.desc())
    )
    return connection.execute(query).mappings().all()


def _refused(connection: sa.Connection, wanted: WrongApprovals) -> dict[str, int]:
    """How many selected proposals have another rollback, by the reason."""
    counts: Counter[str] = Counter()
    for kind in (ATOM, TOPIC):
        action = kind.proposals.c.review_action
        query = sa.select(action, sa.func.count()).where(*_conditions(kind, wanted), action.not_in(UNDOABLE))
        for name, number in connection.execute(query.group_by(action)):
            counts[OWN_ROLLBACK.get(name, f"they were not approved by a review ({name})")] += number
    return dict(counts)


def _conditions(kind: EntityKind, wanted: WrongApprovals) -> list[sa.ColumnElement[bool]]:
    columns = kind.proposals.c
    stated = (
        (wanted.run_id, lambda value: columns.extraction_run_id == value),
        (wanted.since, lambda value: columns.reviewed_at >= value),
        (wanted.until, lambda value: columns.reviewed_at <= value),
        (wanted.action, lambda value: columns.review_action == value),
        (wanted.reviewer, lambda value: _reviewed_by(kind, value)),
    )
    return [columns.status.in_(APPROVED), *(condition(value) for value, condition in stated if value is not None)]


def _reviewed_by(kind: EntityKind, reviewer: str) -> sa.ColumnElement[bool]:
    """Whether the last decision was this reviewer's: by the name in the audit log, or by the user's id."""
    columns, entry = kind.proposals.c, audit_log.c
    about = entry.subject == sa.literal(kind.name + audit.PROPOSAL) + sa.cast(columns.id, sa.Text)
    last = sa.select(entry.actor).where(about, entry.action.in_([audit.decision_action(name) for name in UNDOABLE]))
    actor = last.order_by(entry.id.desc()).limit(1).scalar_subquery()
    named = sa.or_(actor == reviewer, sa.func.starts_with(actor, f"{reviewer}, user "))
    return sa.or_(named, columns.reviewed_by_user_id == int(reviewer)) if reviewer.isdecimal() else named
