"""Which rows have exactly the name: always asked of the database, through ix_topics_name or ix_atoms_title."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from knowledge_migration.knowledge.duplicates.model import Names


def of_exactly_this_name(
    connection: sa.Connection, names: Names, wanted: Mapping[int, tuple[str, str]]
) -> dict[int, int]:
    """For each number of a (name, detail) the id of the row of that name; of several, one of that detail, then the oldest."""
    if not wanted:
        return {}
    given = sa.values(
        sa.column("number", sa.Integer), sa.column("name", sa.Text), sa.column("detail", sa.Text), name="wanted"
    ).data([(number, name, detail) for number, (name, detail) in wanted.items()])
    rows = connection.execute(
        sa.select(given.c.number, names.id)
        .join_from(given, names.table, names.column == given.c.name)
        .ext(distinct_on(given.c.number))
        .order_by(given.c.number, (names.detail == given.c.detail).desc(), names.id)
    )
    return {row.number: row.id for row in rows}
