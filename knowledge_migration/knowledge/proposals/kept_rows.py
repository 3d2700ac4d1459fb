"""Why the row of an approval must stay: what users and other decisions have done with it since.

Every undo asks here before it removes a row. Values are compared with what the approval wrote; a relation that the approval
created or asks for counts as its own while nobody has changed it, every other relation is a reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import TOPIC, EntityKind
from knowledge_migration.knowledge.proposals.editing import same_value
from knowledge_migration.knowledge.proposals.relations import Related, own_relations

LISTED = 3

Leaving = Mapping[str, set[Any]]
"""The ids that will be gone by then: of proposals under "proposal", of rows under the name of their kind."""


@dataclass(frozen=True)
class Since:
    """What the approval itself related, which goes with the row; and why the row must stay, '' if it need not."""

    own: Related
    why: str


def since_approval(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    entity_id: int,
    leaving: Leaving | None = None,
    *,
    lock: bool = True,
) -> Since:
    """What has happened to the row that a proposal created; `leaving` no longer refers to it. Without `lock` a forecast."""
    own, others = own_relations(connection, kind, proposal, entity_id, lock=lock)
    why = _edited(connection, kind, proposal, entity_id)
    return Since(own, why or _referred_to(connection, kind, proposal, entity_id, others, leaving or {}))


def _edited(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int) -> str:
    columns, written = kind.entities.c, {name: proposal[name] for name in kind.values}
    if kind is not TOPIC:
        written["user_approved"] = proposal["status"] == "approved"
    query = sa.select(columns.updated_at, *(columns[name] for name in written)).where(columns.id == entity_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return ""
    differing = [name for name, value in written.items() if not same_value(value, row[name])]
    if not differing:
        return ""
    changed_at = f" (last change {row['updated_at']:%Y-%m-%d %H:%M:%S} UTC)" if row["updated_at"] else ""
    return f"somebody has changed its {', '.join(differing)} since the approval{changed_at}"


def _referred_to(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    entity_id: int,
    others: Related,
    leaving: Leaving,
) -> str:
    columns = kind.proposals.c
    same_row = sa.and_(kind.similar == entity_id, kind.entity_of == entity_id, columns.id != proposal["id"])
    query = sa.select(columns.id).select_from(kind.joined).where(same_row).order_by(columns.id)
    place = 1 if kind is TOPIC else 0
    ids: dict[str, set[Any]] = {
        "proposal": set(connection.execute(query).scalars()),
        "atom": {one for pair in others.atom_links for one in pair if one != entity_id},
        "message": {message_id for _, message_id in others.messages},
    }
    ids.setdefault("atom" if kind is TOPIC else "topic", set()).update(pair[place] for pair in others.topic_atoms)
    staying = {name: sorted(references - leaving.get(name, set()), key=str) for name, references in ids.items()}
    parts = [_listed(name, references) for name, references in staying.items() if references]
    verb = "refers" if sum(map(len, staying.values())) == 1 else "refer"
    return f"{' and '.join(parts)} {verb} to it" if parts else ""


def _listed(name: str, ids: list[Any]) -> str:
    """As "atoms 1, 2, 3 and 7 more"."""
    more = f" and {len(ids) - LISTED:,} more" if len(ids) > LISTED else ""
    return f"{name}{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids[:LISTED]))}{more}"
