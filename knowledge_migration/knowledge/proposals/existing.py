"""Finds existing topics and atoms by a part of their name, for a reviewer who merges. Reads only."""

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import EntityKind
from knowledge_migration.knowledge.values import HIGHEST_ID

MATCHES = 8


def entities_named(connection: sa.Connection, kind: EntityKind, text: str) -> list[tuple[int, str]]:
    """Ids and names of the rows whose name contains the text in any case, or whose id it is; the closest names first.

    Scans the names; the caller's statement timeout is the bound.
    """
    columns = kind.entities.c
    name, part = columns[kind.label], text.replace("\x00", "").strip()
    is_id = part.isascii() and part.isdigit() and len(part) < 20 and int(part) <= HIGHEST_ID
    matches = sa.or_(name.icontains(part, autoescape=True), *([columns.id == int(part)] if is_id else []))
    closeness = (
        sa.desc(columns.id == int(part)) if is_id else sa.desc(sa.func.lower(name) == part.lower()),
        sa.desc(name.istartswith(part, autoescape=True)),
        sa.func.length(name),
        columns.id,
    )
    rows = connection.execute(sa.select(columns.id, name).where(matches).order_by(*closeness).limit(MATCHES))
    return [(row[0], row[1]) for row in rows]
