"""Pending proposals of one thing: same name and text but for case and white space (strategy §10.4, ERRATA V12).

The one that represents a row is kept, else the oldest; the others are merged into that row, or rejected where there is none yet.
One that asks for more (messages, topics, links), or on which others build, is left for a person. Only pending ones change.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.names import normalised
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, KINDS, TOPIC, EntityKind
from knowledge_migration.knowledge.proposals.review import Reviewer, locked, merge, one_by_one, reject, unchanged
from knowledge_migration.knowledge.tables import topics

Action = Literal["merge", "reject", "leave"]
Ask = tuple[str, ...]
Key = tuple[str, ...]

OTHERS_BUILD_ON_IT = "others build on it"
ASKS_FOR_MORE = "it asks for more"


@dataclass(frozen=True)
class Member:
    """One proposal of a group; `entity_id` is the row that it represents, `asks` the relations of its approval."""

    id: UUID
    run_id: UUID
    label: str
    status: str
    created_at: datetime
    entity_id: int | None
    asks: frozenset[Ask]


@dataclass(frozen=True)
class Planned:
    """The action for one pending proposal, and why it is left if it is."""

    proposal: Member
    action: Action
    why: str = ""


@dataclass(frozen=True)
class DuplicateGroup:
    """Proposals of one thing: the kept one, and the plan for each other pending one."""

    kind: EntityKind
    kept: Member
    others: tuple[Planned, ...]

    @property
    def label(self) -> str:
        """The name or title of the kept proposal."""
        return self.kept.label


@dataclass(frozen=True)
class Resolved:
    """The outcome for a duplicate; `why` is the reason why it was left."""

    proposal_id: UUID
    action: Action
    why: str = ""


def duplicate_groups(connection: sa.Connection) -> list[DuplicateGroup]:
    """Every group with a pending duplicate, atoms first. Reads only; scans the approved proposals once per kind."""
    groups = [(kind, _kept(members), members) for kind in (ATOM, TOPIC) for members in _members(connection, kind)]
    pending = [
        (kind, kept, [one for one in members if one.status == "pending" and one.id != kept.id])
        for kind, kept, members in groups
    ]
    candidates = {one.id for _, kept, others in pending for one in others if one.asks <= kept.asks}
    gone = _without_dependants(connection, candidates)
    return [
        DuplicateGroup(kind, kept, tuple(_planned(one, kept, candidates, gone) for one in others))
        for kind, kept, others in pending
    ]


def resolve(engine: sa.Engine, groups: Sequence[DuplicateGroup], reviewer: Reviewer) -> Iterator[Resolved]:
    """Merges or rejects as planned, each in its own transaction; leaves what has changed meanwhile."""

    def work(connection: sa.Connection, item: tuple[DuplicateGroup, Planned]) -> Resolved:
        group, planned = item
        if planned.action == "leave":
            return Resolved(planned.proposal.id, "leave", planned.why)
        return _resolve(connection, group, planned, reviewer)

    items = [(group, planned) for group in groups for planned in group.others]
    return one_by_one(engine, items, work, lambda item, error: Resolved(item[1].proposal.id, "leave", str(error)))


def _resolve(connection: sa.Connection, group: DuplicateGroup, planned: Planned, reviewer: Reviewer) -> Resolved:
    """With both locked, in the order of their runs."""
    mine, kept = planned.proposal, group.kept
    rows = {
        one.id: locked(connection, one.id, reviewer)[1]
        for one in sorted((mine, kept), key=lambda one: (one.run_id, one.id))
    }
    same = _key(group.kind, rows[mine.id]) == _key(group.kind, rows[kept.id])
    if rows[mine.id]["status"] != "pending" or not same:
        return Resolved(mine.id, "leave", "it has changed meanwhile")
    entity_id = unchanged(connection, group.kind, rows[kept.id]).entity_id
    noted = replace(reviewer, notes=f"Duplicate of proposal {kept.id}: {reviewer.notes}")
    if entity_id is not None:
        merge(connection, mine.id, entity_id, noted)
        return Resolved(mine.id, "merge")
    if rows[kept.id]["status"] != "pending" or planned.action != "reject":
        return Resolved(mine.id, "leave", "the one that was to stay has changed meanwhile")
    reject(connection, mine.id, noted)
    return Resolved(mine.id, "reject")


def _kept(members: Sequence[Member]) -> Member:
    return min(members, key=lambda one: (one.entity_id is None, one.created_at, one.id))


def _planned(one: Member, kept: Member, candidates: set[UUID], gone: set[UUID]) -> Planned:
    if kept.entity_id is not None:
        return Planned(one, "merge")
    if one.id in gone:
        return Planned(one, "reject")
    why = OTHERS_BUILD_ON_IT if one.id in candidates else ASKS_FOR_MORE
    return Planned(one, "leave", f"{why}; approve proposal {kept.id} or reject it, then run this again")


def _members(connection: sa.Connection, kind: EntityKind) -> list[list[Member]]:
    """The groups of proposals of one thing, each with at least one pending proposal."""
    columns = kind.proposals.c
    pending = _rows(connection, kind, columns.status == "pending")
    names = sorted({row[kind.label] for row in pending})
    wanted = sa.select(_folded(sa.func.unnest(sa.literal(names, sa.ARRAY(sa.Text))).column_valued("name")))
    named = sa.and_(columns.status.in_(APPROVED), _folded(columns[kind.label]).in_(wanted))
    approved = [row for row in _rows(connection, kind, named) if row["entity"] is not None] if names else []
    by_key: dict[Key, list[sa.RowMapping]] = defaultdict(list)
    for row in (*pending, *approved):
        by_key[_key(kind, row)].append(row)
    groups = [rows for rows in by_key.values() if len(rows) > 1 and any(row["status"] == "pending" for row in rows)]
    asks = _asks(connection, kind, [row for rows in groups for row in rows])
    return [[_member(kind, row, asks[row["id"]]) for row in rows] for rows in groups]


def _member(kind: EntityKind, row: sa.RowMapping, asks: frozenset[Ask]) -> Member:
    run_id, label = row["extraction_run_id"], row[kind.label]
    return Member(row["id"], run_id, label, row["status"], row["created_at"], row["entity"], asks)


def _rows(connection: sa.Connection, kind: EntityKind, which: sa.ColumnElement[bool]) -> Sequence[sa.RowMapping]:
    query = sa.select(kind.proposals, kind.entity_of.label("entity")).select_from(kind.joined).where(which)
    return connection.execute(query.order_by(kind.proposals.c.created_at, kind.proposals.c.id)).mappings().all()


def _folded(name: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Nearly `normalised`; the server chooses candidates with it."""
    return sa.func.lower(sa.func.btrim(sa.func.regexp_replace(name, r"\s+", " ", "g")))


def _key(kind: EntityKind, row: sa.RowMapping) -> Key:
    """Equal for two proposals of one thing."""
    key = normalised(row[kind.label]), normalised(row[kind.detail])
    return key if kind is TOPIC else (row["type"], *key)


def _asks(connection: sa.Connection, kind: EntityKind, rows: Sequence[sa.RowMapping]) -> dict[UUID, frozenset[Ask]]:
    """The relations that the approval of each would create, by names, so that different runs can be compared."""
    if kind is TOPIC:
        return {row["id"]: frozenset(("message", str(one)) for one in row["message_ids"] or ()) for row in rows}
    references = [one for row in rows for one in row["proposed_topic_ids"] or ()]
    topic_names = _names(connection, TOPIC, [UUID(one) for one in references if isinstance(one, str)])
    numbers = {one for one in references if isinstance(one, int)}
    existing = connection.execute(sa.select(topics.c.id, topics.c.name).where(topics.c.id.in_(numbers)))
    topic_names |= {number: normalised(name) for number, name in existing}
    titles = _names(connection, ATOM, [UUID(one["proposal"]) for row in rows for one in row["proposed_links"] or ()])
    return {
        row["id"]: frozenset(
            [
                *(("topic", topic_names.get(one, str(one))) for one in row["proposed_topic_ids"] or ()),
                *(
                    ("link", one["type"], titles.get(one["proposal"], one["proposal"]))
                    for one in row["proposed_links"] or ()
                ),
            ]
        )
        for row in rows
    }


def _names(connection: sa.Connection, kind: EntityKind, ids: Sequence[UUID]) -> dict[Any, str]:
    columns = kind.proposals.c
    query = sa.select(columns.id, columns[kind.label]).where(columns.id.in_(set(ids)))
    return {str(proposal_id): normalised(name) for proposal_id, name in connection.execute(query)}


def _without_dependants(connection: sa.Connection, candidates: set[UUID]) -> set[UUID]:
    """The candidates on which only other such candidates build: atoms on their topic, links on the atom they lead to."""
    dependants, gone = _dependants(connection, candidates), set(candidates)
    while kept := {one for one in gone if dependants[one] - gone}:
        gone -= kept
    return gone


def _dependants(connection: sa.Connection, ids: set[UUID]) -> dict[UUID, set[UUID]]:
    """The proposals of the same runs that refer to each of these, without rejected ones."""
    runs = sa.union_all(
        *(sa.select(one.c.extraction_run_id).where(one.c.id.in_(ids)) for one in (kind.proposals for kind in KINDS))
    )
    columns = ATOM.proposals.c
    query = sa.select(columns.id, columns.proposed_topic_ids, columns.proposed_links).where(
        columns.extraction_run_id.in_(runs.scalar_subquery()), columns.status != "rejected"
    )
    dependants: dict[UUID, set[UUID]] = defaultdict(set)
    for row in connection.execute(query):
        named = [one for one in row.proposed_topic_ids or () if isinstance(one, str)]
        for reference in (*named, *(one["proposal"] for one in row.proposed_links or ())):
            dependants[UUID(reference)].add(row.id)
    return dependants
