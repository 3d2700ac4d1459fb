"""What approving many proposals would do, before it is done. Nothing is locked, so it is a forecast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import KINDS, TOPIC, EntityKind, EntityName
from knowledge_migration.knowledge.proposals.review import DECIDABLE

Effect = Literal["creates", "stands for", "joins", "is decided", "is gone"]


@dataclass(frozen=True)
class Foreseen:
    """What an approval would do to one proposal: create a row, stand for row `entity_id`, or join one of the same selection."""

    proposal_id: UUID
    entity_type: EntityName | None
    label: str | None
    confidence: float | None
    effect: Effect
    entity_id: int | None = None
    status: str | None = None
    similar_entity_id: int | None = None


def preview_approvals(connection: sa.Connection, proposal_ids: Sequence[UUID]) -> list[Foreseen]:
    """One for each id, in their order."""
    found: dict[UUID, Foreseen] = {}
    for kind in KINDS:
        found |= _of_kind(connection, kind, proposal_ids)
    gone = [Foreseen(one, None, None, None, "is gone") for one in proposal_ids if one not in found]
    return [found[one] for one in proposal_ids if one in found] + gone


def _of_kind(connection: sa.Connection, kind: EntityKind, proposal_ids: Sequence[UUID]) -> dict[UUID, Foreseen]:
    columns = kind.proposals.c
    rows = {
        row["id"]: row
        for row in connection.execute(sa.select(kind.proposals).where(columns.id.in_(proposal_ids))).mappings()
    }
    existing = _existing(connection, kind, list(rows.values()))
    taken: set[tuple[Any, ...]] = set()
    found = {}
    for proposal_id in (one for one in proposal_ids if one in rows):
        row = rows[proposal_id]
        same = _identity(kind, row)
        effect: Effect
        if row["status"] not in DECIDABLE:
            effect = "is decided"
        elif same in existing:
            effect = "stands for"
        else:
            effect = "joins" if same in taken else "creates"
            taken.add(same)
        found[proposal_id] = Foreseen(
            proposal_id,
            kind.name,
            row[kind.label],
            row["confidence"],
            effect,
            existing.get(same) if effect == "stands for" else None,
            row["status"],
            row[kind.similar.name],
        )
    return found


def _identity(kind: EntityKind, row: sa.RowMapping) -> tuple[Any, ...]:
    """What makes two rows one: a topic's name; an atom's type, title and content."""
    return (row["name"],) if kind is TOPIC else (row["type"], row["title"], row["content"])


def _existing(connection: sa.Connection, kind: EntityKind, rows: Sequence[sa.RowMapping]) -> dict[tuple[Any, ...], int]:
    columns = kind.entities.c
    compared = (columns.name,) if kind is TOPIC else (columns.type, columns.title, columns.content)
    labels = {row[kind.label] for row in rows}
    if not labels:
        return {}
    query = sa.select(columns.id, *compared).where(columns[kind.label].in_(labels)).order_by(columns.id.desc())
    return {tuple(row[1:]): row[0] for row in connection.execute(query)}
