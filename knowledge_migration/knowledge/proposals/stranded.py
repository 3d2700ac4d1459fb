"""Pending proposals of proposal mode after proposals were switched off: each is replayed or parked (ERRATA C4).

Replay does what direct mode would have done: a proposal that reaches its threshold becomes knowledge, an atom only if its topic
has. All others, and those whose decision was undone, are parked: out of the queue, but on record. A second run completes it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import ATOM, KINDS, EntityKind, EntityName
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.flags import read_flags
from knowledge_migration.knowledge.proposals.relations import existing_topics
from knowledge_migration.knowledge.proposals.review import Reviewer, approve, locked, park
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs

Outcome = Literal["replayed", "parked"]
OnSettled = Callable[[EntityName, Outcome], None]


@dataclass(frozen=True)
class Stranded:
    """How many pending proposals of proposal mode there are, and how many of them reach direct mode's threshold."""

    waiting: dict[EntityName, int]
    replayable: dict[EntityName, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.waiting.values())


@dataclass(frozen=True)
class Settled:
    """How many were replayed and parked, per kind; `enabled_again` if it stopped because proposals are on again."""

    replayed: dict[EntityName, int]
    parked: dict[EntityName, int]
    enabled_again: bool = False

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.replayed.values()) + sum(self.parked.values())

    @property
    def sentence(self) -> str:
        """The counts as text."""
        replayed, parked = sum(self.replayed.values()), sum(self.parked.values())
        return f"{replayed:,} stranded proposals were replayed, {parked:,} parked"

    def plus(self, other: "Settled") -> "Settled":
        """The sum of two runs over the same kinds."""
        return Settled(
            {name: count + other.replayed[name] for name, count in self.replayed.items()},
            {name: count + other.parked[name] for name, count in self.parked.items()},
            self.enabled_again or other.enabled_again,
        )


def stranded(connection: sa.Connection, threshold: float) -> Stranded:
    """The proposals that switching proposals off would strand, or has stranded. Reads only."""
    waiting: dict[EntityName, int] = {}
    replayable: dict[EntityName, int] = {}
    for kind in KINDS:
        reaching = sa.func.count().filter(_reaches(kind, threshold)).label("replayable")
        counted = sa.select(sa.func.count().label("waiting"), reaching).select_from(kind.proposals)
        row = connection.execute(_stranded(counted, kind)).one()
        waiting[kind.name], replayable[kind.name] = row.waiting, row.replayable
    return Stranded(waiting, replayable)


def settle(
    engine: sa.Engine, threshold: float, *, actor: str, reason: str, on_settled: OnSettled | None = None
) -> Settled:
    """Replays or parks every stranded proposal, topics first; stops where proposals are on again."""
    reviewer = Reviewer(actor, notes=reason)
    counts: Counter[tuple[EntityName, Outcome]] = Counter()
    with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        for kind, proposal_id in ((each, one) for each in KINDS for one in _ids(connection, each)):
            with connection.begin():
                flags = read_flags(connection)
                if flags and flags.enabled:
                    return _settled(counts, enabled_again=True)
                outcome = _settle_one(connection, proposal_id, threshold, reviewer)
            if outcome:
                counts[kind.name, outcome] += 1
                if on_settled:
                    on_settled(kind.name, outcome)
    return _settled(counts)


def _settle_one(connection: sa.Connection, proposal_id: UUID, threshold: float, reviewer: Reviewer) -> Outcome | None:
    """Replays or parks one proposal; None where somebody has decided about it meanwhile."""
    try:
        kind, proposal = locked(connection, proposal_id, reviewer)
        if proposal["status"] != "pending":
            return None
        if _direct_mode_would_write(connection, kind, proposal, threshold):
            approve(connection, proposal_id, reviewer, status="auto_approved", action="replay")
            return "replayed"
        park(connection, proposal_id, reviewer)
        return "parked"
    except (ConflictError, UnknownError):
        return None


def _direct_mode_would_write(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, threshold: float
) -> bool:
    if proposal["confidence"] < threshold or proposal["review_action"] == "undo":
        return False
    return kind is not ATOM or bool(existing_topics(connection, proposal["proposed_topic_ids"] or ()))


def _reaches(kind: EntityKind, threshold: float) -> sa.ColumnElement[bool]:
    columns = kind.proposals.c
    return sa.and_(columns.confidence >= threshold, columns.review_action.is_distinct_from("undo"))


def _stranded(query: Any, kind: EntityKind) -> Any:
    """Pending proposals of runs in proposal mode; those of dual write keep waiting for review."""
    query = query.join(runs, runs.c.id == kind.proposals.c.extraction_run_id)
    return query.where(kind.proposals.c.status == "pending", runs.c.settings["mode"].astext == "proposal")


def _ids(connection: sa.Connection, kind: EntityKind) -> Sequence[UUID]:
    columns = kind.proposals.c
    query = _stranded(sa.select(columns.id).select_from(kind.proposals), kind)
    with connection.begin():
        return connection.execute(query.order_by(columns.created_at, columns.id)).scalars().all()


def _settled(counts: Counter[tuple[EntityName, Outcome]], *, enabled_again: bool = False) -> Settled:
    replayed, parked = ({kind.name: counts[kind.name, outcome] for kind in KINDS} for outcome in ("replayed", "parked"))
    return Settled(replayed, parked, enabled_again)
