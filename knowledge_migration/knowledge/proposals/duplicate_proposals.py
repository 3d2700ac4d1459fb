"""Pending proposals of the same thing, from repeated extractions or two processes (strategy §10.4, ERRATA V12).

The same is the same name and the same text, but for case and white space; a name alone repeats legitimately between runs.
Of the same, the one that stands for a row stays, else the oldest. The others are merged into that row, or rejected where
there is none yet, through the functions of review: audited, and undone as any decision is. Nothing but what is pending is
ever touched. A proposal that asks for more than the one that stays (other messages, topics, links), or that others build
on, is left for a person: rejecting it would lose that. Once the one that stays is approved, it is merged.
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
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.proposals.review import Reviewer, locked, merge, reject
from knowledge_migration.knowledge.tables import topics

Action = Literal["merge", "reject", "leave"]
Ask = tuple[str, ...]
Key = tuple[str, ...]

OTHERS_BUILD_ON_IT = "others build on it"
ASKS_FOR_MORE = "it asks for more"


@dataclass(frozen=True)
class Member:
    """One proposal of a group; `entity_id` is the row that it stands for, `asks` what its approval would relate."""

    id: UUID
    run_id: UUID
    status: str
    created_at: datetime
    entity_id: int | None
    asks: frozenset[Ask]


@dataclass(frozen=True)
class Planned:
    """What is to be done about one pending proposal, and why it is left if it is."""

    proposal: Member
    action: Action
    why: str = ""


@dataclass(frozen=True)
class DuplicateGroup:
    """Proposals of one thing: the one that stays, and what becomes of each other that is pending."""

    kind: EntityKind
    label: str
    kept: Member
    others: tuple[Planned, ...]


@dataclass(frozen=True)
class Resolved:
    """What became of a duplicate; `why` says why it was left."""

    proposal_id: UUID
    action: Action
    why: str = ""


def duplicate_groups(connection: sa.Connection) -> list[DuplicateGroup]:
    """Every group with a pending duplicate, atoms first. Reads only; scans the approved proposals once a kind."""
    found = [(kind, members) for kind in (ATOM, TOPIC) for members in _groups(connection, kind)]
    kept = {id(members): _kept(members) for _, members in found}
    candidates = {
        one.id
        for _, members in found
        for one in _duplicates(members, kept[id(members)])
        if one.asks <= kept[id(members)].asks
    }
    gone = _without_dependants(connection, candidates)
    return [
        DuplicateGroup(
            kind,
            label_of(connection, kind, kept[id(members)].id),
            kept[id(members)],
            tuple(
                _planned(one, kept[id(members)], candidates, gone) for one in _duplicates(members, kept[id(members)])
            ),
        )
        for kind, members in found
    ]


def resolve(engine: sa.Engine, groups: Sequence[DuplicateGroup], reviewer: Reviewer) -> Iterator[Resolved]:
    """Merges or rejects what is planned, each in a transaction of its own; what has changed meanwhile is left.

    Stopped anywhere, a second run plans and does the rest.
    """
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    for group in groups:
        for planned in group.others:
            if planned.action == "leave":
                yield Resolved(planned.proposal.id, "leave", planned.why)
                continue
            try:
                with transactions.begin() as connection:
                    resolved = _resolve(connection, group, planned, reviewer)
            except (ConflictError, UnknownError) as error:
                resolved = Resolved(planned.proposal.id, "leave", str(error))
            yield resolved


def label_of(connection: sa.Connection, kind: EntityKind, proposal_id: UUID) -> str:
    """The name or title of a proposal."""
    columns = kind.proposals.c
    return str(connection.execute(sa.select(columns[kind.label]).where(columns.id == proposal_id)).scalar_one())


def _resolve(connection: sa.Connection, group: DuplicateGroup, planned: Planned, reviewer: Reviewer) -> Resolved:
    """With both locked, in the order of their runs; the one that stays must still be able to."""
    mine, kept = planned.proposal, group.kept
    rows = {
        one.id: locked(connection, one.id, reviewer)[1]
        for one in sorted((mine, kept), key=lambda one: (one.run_id, one.id))
    }
    same = _key(group.kind, rows[mine.id]) == _key(group.kind, rows[kept.id])
    if rows[mine.id]["status"] != "pending" or not same:
        return Resolved(mine.id, "leave", "it has changed meanwhile")
    stands_for = _stands_for(connection, group.kind, kept.id)
    noted = replace(reviewer, notes=f"Duplicate of proposal {kept.id}: {reviewer.notes}")
    if stands_for is not None:
        merge(connection, mine.id, stands_for, noted)
        return Resolved(mine.id, "merge")
    if rows[kept.id]["status"] != "pending" or planned.action != "reject":
        return Resolved(mine.id, "leave", "the one that was to stay has changed meanwhile")
    reject(connection, mine.id, noted)
    return Resolved(mine.id, "reject")


def _stands_for(connection: sa.Connection, kind: EntityKind, proposal_id: UUID) -> int | None:
    query = sa.select(kind.entity_of).select_from(kind.joined).where(kind.proposals.c.id == proposal_id)
    found: int | None = connection.execute(query).scalar_one_or_none()
    return found


def _kept(members: Sequence[Member]) -> Member:
    return min(members, key=lambda one: (one.entity_id is None, one.created_at, one.id))


def _duplicates(members: Sequence[Member], kept: Member) -> list[Member]:
    return [one for one in members if one.status == "pending" and one.id != kept.id]


def _planned(one: Member, kept: Member, candidates: set[UUID], gone: set[UUID]) -> Planned:
    if kept.entity_id is not None:
        return Planned(one, "merge")
    if one.id in gone:
        return Planned(one, "reject")
    why = OTHERS_BUILD_ON_IT if one.id in candidates else ASKS_FOR_MORE
    return Planned(one, "leave", f"{why}; approve proposal {kept.id} or reject it, then run this again")


def _groups(connection: sa.Connection, kind: EntityKind) -> list[list[Member]]:
    """The proposals of the same thing, at least one of which would be a duplicate."""
    columns = kind.proposals.c
    pending = _rows(connection, kind, columns.status == "pending")
    names = sorted({row[kind.label] for row in pending})
    wanted = sa.select(_folded(sa.func.unnest(sa.literal(names, sa.ARRAY(sa.Text))).column_valued("name")))
    standing = (
        _rows(connection, kind, sa.and_(columns.status.in_(APPROVED), _folded(columns[kind.label]).in_(wanted)))
        if names
        else []
    )
    by_key: dict[Key, list[sa.RowMapping]] = defaultdict(list)
    for row in (*pending, *(row for row in standing if row["entity"] is not None)):
        by_key[_key(kind, row)].append(row)
    groups = [rows for rows in by_key.values() if len(rows) > 1 and any(row["status"] == "pending" for row in rows)]
    asks = _asks(connection, kind, [row for rows in groups for row in rows])
    return [
        [
            Member(
                row["id"], row["extraction_run_id"], row["status"], row["created_at"], row["entity"], asks[row["id"]]
            )
            for row in rows
        ]
        for rows in groups
    ]


def _rows(connection: sa.Connection, kind: EntityKind, which: sa.ColumnElement[bool]) -> Sequence[sa.RowMapping]:
    query = sa.select(kind.proposals, kind.entity_of.label("entity")).select_from(kind.joined).where(which)
    return connection.execute(query.order_by(kind.proposals.c.created_at, kind.proposals.c.id)).mappings().all()


def _folded(name: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Nearly `normalised`, for the server to choose candidates by."""
    return sa.func.lower(sa.func.btrim(sa.func.regexp_replace(name, r"\s+", " ", "g")))


def _key(kind: EntityKind, row: sa.RowMapping) -> Key:
    """What makes two proposals the same thing."""
    if kind is TOPIC:
        return normalised(row["name"]), normalised(row["description"])
    return row["type"], normalised(row["title"]), normalised(row["content"])


def _asks(connection: sa.Connection, kind: EntityKind, rows: Sequence[sa.RowMapping]) -> dict[UUID, frozenset[Ask]]:
    """What the approval of each would relate, by names, so that proposals of different runs can be compared."""
    if kind is TOPIC:
        return {row["id"]: frozenset(("message", str(one)) for one in row["message_ids"] or ()) for row in rows}
    references = [one for row in rows for one in row["proposed_topic_ids"] or ()]
    topic_names = _names(connection, TOPIC, [UUID(one) for one in references if isinstance(one, str)])
    existing = sa.select(topics.c.id, topics.c.name).where(
        topics.c.id.in_({one for one in references if isinstance(one, int)})
    )
    topic_names |= {number: normalised(name) for number, name in connection.execute(existing)}
    titles = _names(connection, ATOM, [UUID(one["proposal"]) for row in rows for one in row["proposed_links"] or ()])
    return {
        row["id"]: frozenset(
            [("topic", topic_names.get(one, str(one))) for one in row["proposed_topic_ids"] or ()]
            + [
                ("link", one["type"], titles.get(one["proposal"], one["proposal"]))
                for one in row["proposed_links"] or ()
            ]
        )
        for row in rows
    }


def _names(connection: sa.Connection, kind: EntityKind, ids: Sequence[UUID]) -> dict[Any, str]:
    columns = kind.proposals.c
    query = sa.select(columns.id, columns[kind.label]).where(columns.id.in_(set(ids)))
    return {str(proposal_id): normalised(name) for proposal_id, name in connection.execute(query)}


def _without_dependants(connection: sa.Connection, candidates: set[UUID]) -> set[UUID]:
    """Those on which nothing builds but what goes as well: atoms on their topic, links on the atom they lead to."""
    builds_on = _dependants(connection, candidates)
    gone = set(candidates)
    while kept := {one for one in gone if builds_on[one] - gone}:
        gone -= kept
    return gone


def _dependants(connection: sa.Connection, ids: set[UUID]) -> dict[UUID, set[UUID]]:
    """The proposals of the same runs that refer to each of these, but for rejected ones."""
    runs = [
        run
        for kind in KINDS
        for run in connection.execute(
            sa.select(kind.proposals.c.extraction_run_id).where(kind.proposals.c.id.in_(ids)).distinct()
        ).scalars()
    ]
    columns = ATOM.proposals.c
    query = sa.select(columns.id, columns.proposed_topic_ids, columns.proposed_links).where(
        columns.extraction_run_id.in_(set(runs)), columns.status != "rejected"
    )
    found: dict[UUID, set[UUID]] = defaultdict(set)
    for row in connection.execute(query):
        named = [one for one in row.proposed_topic_ids or () if isinstance(one, str)]
        for reference in (*named, *(one["proposal"] for one in row.proposed_links or ())):
            found[UUID(reference)].add(row.id)
    return found
