"""Approval without a reviewer (strategy §6.2): at extraction, and as a job for proposals that became eligible later.

A similarity search precedes it. A proposal that is similar to a row of another name, and one whose decision a person has
undone, is never approved automatically.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer, approve, locked, one_by_one
from knowledge_migration.knowledge.proposals.similarity import flag_proposals

REVIEWER = Reviewer("auto-approval")


def is_eligible(proposal: sa.RowMapping, flags: Flags) -> bool:
    """Whether a proposal may be approved without a reviewer."""
    return (
        flags.auto_approve_high_confidence
        and proposal["status"] == "pending"
        and proposal["confidence"] >= flags.auto_approve_threshold
        and proposal["similarity_type"] in (None, "exact")
        and proposal["review_action"] != "undo"
    )


def approve_eligible_of_run(
    connection: sa.Connection, run_id: UUID, flags: Flags, finder: DuplicateFinder
) -> list[Decision]:
    """Approves what one extraction is sure of, topics first, in the caller's transaction.

    Names go in order, so that two extractions of the same names wait for each other instead of deadlocking.
    """
    ids: list[UUID] = []
    for kind in KINDS:
        columns = kind.proposals.c
        of_run = _eligible(kind, flags).where(columns.extraction_run_id == run_id)
        ids += connection.execute(of_run.order_by(None).order_by(columns[kind.label], columns.id)).scalars()
    decisions = [approve_if_eligible(connection, proposal_id, flags, finder) for proposal_id in ids]
    return [decision for decision in decisions if decision.changed]


def approve_if_eligible(
    connection: sa.Connection, proposal_id: UUID, flags: Flags, finder: DuplicateFinder
) -> Decision:
    """Approves a proposal if it is still eligible once it is locked and what it is similar to is known."""
    kind, _ = locked(connection, proposal_id, REVIEWER)
    flag_proposals(connection, finder, kind, [proposal_id])
    return approve(
        connection,
        proposal_id,
        REVIEWER,
        status="auto_approved",
        still_wanted=lambda proposal: is_eligible(proposal, flags),
    )


def approve_all_eligible(
    engine: sa.Engine, flags: Flags, proposal_ids: Sequence[UUID], finder: DuplicateFinder | None = None
) -> int:
    """Approves these if they still are eligible, each in its own transaction; returns how many were approved."""
    search = finder or DuplicateFinder()

    def work(connection: sa.Connection, proposal_id: UUID) -> bool:
        return approve_if_eligible(connection, proposal_id, flags, search).changed

    return sum(one_by_one(engine, proposal_ids, work, lambda proposal_id, error: False))


def eligible(connection: sa.Connection, flags: Flags, limit: int) -> Sequence[UUID]:
    """Proposals that may be approved without a reviewer: topics before atoms, the most confident first."""
    ids: list[UUID] = []
    for kind in KINDS:
        ids += connection.execute(_eligible(kind, flags).limit(limit - len(ids))).scalars()
    return ids


def _eligible(kind: EntityKind, flags: Flags) -> sa.Select[Any]:
    columns = kind.proposals.c
    return (
        sa.select(columns.id)
        .where(
            sa.literal(flags.auto_approve_high_confidence),
            columns.status == "pending",
            columns.confidence >= flags.auto_approve_threshold,
            sa.or_(columns.similarity_type.is_(None), columns.similarity_type == "exact"),
            columns.review_action.is_distinct_from("undo"),
        )
        .order_by(columns.confidence.desc(), columns.id)
    )
