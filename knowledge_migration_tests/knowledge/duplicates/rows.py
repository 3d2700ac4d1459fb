"""Rows of the legacy tables, written as other sessions write them."""

from collections.abc import Sequence

import sqlalchemy as sa

from knowledge_migration.knowledge.tables import EMBEDDING_DIMENSIONS, atoms, topics


def add_topic(connection: sa.Connection, name: str, *, id: int | None = None) -> int:
    """A topic of that name; returns its id."""
    values = {"name": name, "description": ""} | ({} if id is None else {"id": id})
    return int(connection.execute(topics.insert().values(values).returning(topics.c.id)).scalar_one())


def add_atom(
    connection: sa.Connection, title: str, content: str = "", *, embedding: Sequence[float] | None = None
) -> int:
    """An atom of that title; returns its id."""
    values = {"type": "insight", "title": title, "content": content, "user_approved": False, "embedding": embedding}
    return int(connection.execute(atoms.insert().values(values).returning(atoms.c.id)).scalar_one())


def direction(*leading: float) -> list[float]:
    """An embedding that begins with these numbers and goes on with zeros."""
    return [*leading, *[0.0] * (EMBEDDING_DIMENSIONS - len(leading))]
