"""Takes back approvals that should not have been: of one run, or of a time, by one reviewer or by nobody (strategy §10.4).

Each is undone as a reviewer would, in a transaction of its own, the newest first and atoms before the topics they are
filed under. A row that a user has edited since, or to which something refers that stays, is left as it is. Only approvals
of the review are taken back: what was backfilled or written beside a direct write has its own way back. What was not
shown before is never undone; killed anywhere, a second run does the rest.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, KINDS, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError, InvalidError, UnknownError
from knowledge_migration.knowledge.proposals.review import Reviewer, locked, references, undo
from knowledge_migration.knowledge.tables import audit_log

TAKEN_BACK = ("approve", "auto_approve")
OWN_WAY_BACK = {
    "auto_approve_migration": "they were backfilled (knowledge-migration rollback backfill)",
    "dual_write": "they were written beside direct writes (knowledge-migration rollback dual-write)",
}

Fate = Literal["withdrawn", "returned", "kept"]
"""The row goes; the proposal waits for review again, and the row that it matched stays; nothing changes."""

EDITED = "a user has edited it since"


@dataclass(frozen=True)
class WrongApprovals:
    """Which approvals: of a run, or of a time, both ends included; of one reviewer (name or user id) or one action."""

    run_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    reviewer: str | None = None
    action: Literal["approve", "auto_approve"] | None = None


@dataclass(frozen=True)
class Approval:
    """One approval and what would become of it; `why` says why a row is kept."""

    kind: EntityKind
    proposal_id: UUID
    label: str
    action: str
    reviewed_at: datetime
    entity_id: int | None
    fate: Fate
    why: str = ""


@dataclass(frozen=True)
class ApprovalsFound:
    """What was approved, in the order in which it is undone; and how many were refused, each with the reason."""

    approvals: tuple[Approval, ...]
    refused: dict[str, int]


@dataclass
class _Leaving:
    """What will be gone by then; it grows while the plan is made, so it is a class."""

    proposals: set[Any] = field(default_factory=set)
    rows: dict[str, set[Any]] = field(default_factory=lambda: {kind.name: set() for kind in KINDS})

    def without(self, name: str, ids: Sequence[Any]) -> set[Any]:
        """Of those that refer, the ones that stay."""
        gone = self.proposals if name == "proposal" else self.rows.get(name, set())
        return set(ids) - gone


def find_approvals(connection: sa.Connection, wanted: WrongApprovals) -> ApprovalsFound:
    """What was approved and would be taken back. Reads only, without locks; raises `InvalidError` when all would be meant."""
    if wanted.run_id is None and wanted.since is None:
        raise InvalidError("Say which approvals are wrong: those of a run, or those since a time.")
    rows = [(kind, row) for kind in (ATOM, TOPIC) for row in _approved(connection, kind, wanted)]
    leaving, planned, waiting = _Leaving(), list[Approval](), rows
    while waiting:  # what refers to a row may itself be taken back later in the same pass
        kept = list[tuple[EntityKind, sa.RowMapping, str]]()
        for kind, row in waiting:
            why = _why_kept(connection, kind, row, leaving)
            if why:
                kept.append((kind, row, why))
                continue
            planned.append(_approval(kind, row, "returned" if row["own"] is None else "withdrawn"))
            leaving.proposals.add(row["id"])
            leaving.rows[kind.name].add(row["own"])
        if len(kept) == len(waiting):
            planned += [_approval(kind, row, "kept", why) for kind, row, why in kept]
            break
        waiting = [(kind, row) for kind, row, _ in kept]
    return ApprovalsFound(tuple(planned), _refused(connection, wanted))


def undo_approvals(engine: sa.Engine, approvals: Sequence[Approval], reviewer: Reviewer) -> Iterator[Approval]:
    """Undoes what was found, each in a transaction of its own; each is told with what really became of it."""
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    for approval in approvals:
        if approval.fate == "kept":
            yield approval
            continue
        try:
            with transactions.begin() as connection:
                done = _undo(connection, approval, reviewer)
        except (ConflictError, UnknownError) as error:
            done = replace(approval, fate="kept", why=str(error))
        yield done


def _undo(connection: sa.Connection, approval: Approval, reviewer: Reviewer) -> Approval:
    kind, proposal = locked(connection, approval.proposal_id, reviewer)
    if proposal["status"] not in APPROVED or proposal["reviewed_at"] != approval.reviewed_at:
        return replace(approval, fate="kept", why="somebody else has decided about it meanwhile")
    row = connection.execute(_row_of(kind, proposal).with_for_update(of=kind.entities)).mappings().one_or_none()
    own = row["own"] if row else None
    why = _why_kept(connection, kind, {**proposal, **(row or {}), "own": own}, _Leaving())
    if why:
        return replace(approval, fate="kept", why=why)
    decision = undo(connection, approval.proposal_id, reviewer)
    if decision.status in APPROVED:
        return replace(approval, fate="kept", why="something refers to it now")
    return replace(approval, fate="withdrawn" if decision.status == "withdrawn" else "returned", entity_id=own)


def _row_of(kind: EntityKind, proposal: sa.RowMapping) -> sa.Select[Any]:
    columns = kind.entities.c
    return sa.select(columns.id.label("own"), *_present(kind)).where(
        columns.migrated_from_proposal_id == proposal["id"]
    )


def _present(kind: EntityKind) -> list[sa.Label[Any]]:
    """The values that the row has now."""
    return [kind.entities.c[name].label(f"now_{name}") for name in kind.values]


def _why_kept(connection: sa.Connection, kind: EntityKind, row: Any, leaving: _Leaving) -> str:
    """Why a row has to stay, '' if it need not: a user's work in it, or what refers to it and stays."""
    if row["own"] is None:
        return ""
    if any(row[name] != row[f"now_{name}"] for name in kind.values):
        return EDITED
    found = references(connection, kind, row, row["own"])
    staying = {name: leaving.without(name, connection.execute(query).scalars().all()) for name, query in found.items()}
    words = [f"{len(ids):,} {name}{'s' if len(ids) > 1 else ''}" for name, ids in staying.items() if ids]
    verb = "refers" if sum(map(len, staying.values())) == 1 else "refer"
    return f"{' and '.join(words)} {verb} to it" if words else ""


def _approval(kind: EntityKind, row: sa.RowMapping, fate: Fate, why: str = "") -> Approval:
    return Approval(
        kind, row["id"], row[kind.label], row["review_action"], row["reviewed_at"], row["entity"], fate, why
    )


def _approved(connection: sa.Connection, kind: EntityKind, wanted: WrongApprovals) -> Sequence[sa.RowMapping]:
    """The approvals of one kind, the newest first, with the row that each made (`own`) or stands for (`entity`)."""
    columns = kind.proposals.c
    own, entity = kind.entities.c.id.label("own"), kind.entity_of.label("entity")
    query = (
        sa.select(kind.proposals, own, entity, *_present(kind))
        .select_from(kind.joined)
        .where(*_meant(kind, wanted), columns.review_action.in_(TAKEN_BACK))
        .order_by(columns.reviewed_at.desc(), columns.id.desc())
    )
    return connection.execute(query).mappings().all()


def _refused(connection: sa.Connection, wanted: WrongApprovals) -> dict[str, int]:
    """How many approved proposals are meant that have another way back, by the reason."""
    counts: Counter[str] = Counter()
    for kind in (ATOM, TOPIC):
        action = kind.proposals.c.review_action
        query = sa.select(action, sa.func.count()).where(*_meant(kind, wanted), action.not_in(TAKEN_BACK))
        for name, number in connection.execute(query.group_by(action)):
            counts[OWN_WAY_BACK.get(name, f"they were not approved by a review ({name})")] += number
    return dict(counts)


def _meant(kind: EntityKind, wanted: WrongApprovals) -> list[sa.ColumnElement[bool]]:
    columns = kind.proposals.c
    conditions: list[sa.ColumnElement[bool]] = [columns.status.in_(APPROVED)]
    if wanted.run_id is not None:
        conditions.append(columns.extraction_run_id == wanted.run_id)
    if wanted.since is not None:
        conditions.append(columns.reviewed_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.reviewed_at <= wanted.until)
    if wanted.action is not None:
        conditions.append(columns.review_action == wanted.action)
    if wanted.reviewer is not None:
        conditions.append(_reviewed_by(kind, wanted.reviewer))
    return conditions


def _reviewed_by(kind: EntityKind, reviewer: str) -> sa.ColumnElement[bool]:
    """Whether the last decision was this reviewer's: by the name in the audit log, or by the user's id."""
    columns, entry = kind.proposals.c, audit_log.c
    about = entry.subject == sa.literal(kind.name + audit.PROPOSAL) + sa.cast(columns.id, sa.Text)
    last = sa.select(entry.actor).where(about, entry.action.in_(map(audit.decision_action, TAKEN_BACK)))
    actor = last.order_by(entry.id.desc()).limit(1).scalar_subquery()
    named = sa.or_(actor == reviewer, sa.func.starts_with(actor, f"{reviewer}, user "))
    return sa.or_(named, columns.reviewed_by_user_id == int(reviewer)) if reviewer.isdecimal() else named
