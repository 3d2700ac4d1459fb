"""Which stored atom is nearest in meaning: pgvector's cosine distance on the application's scale, `1 - distance / 2`.

Only for candidates that bring an embedding and rows that have one. Where the user has no vector index on
`atoms.embedding`, the server reads every embedding for each candidate.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from pgvector.sqlalchemy import Vector

from knowledge_migration.knowledge.duplicates.model import Similar
from knowledge_migration.knowledge.tables import EMBEDDING_DIMENSIONS, atoms


def nearest_atoms(
    connection: sa.Connection, wanted: Mapping[int, Sequence[float]], *, score_from: float
) -> dict[int, Similar]:
    """For each number of an embedding the nearest atom that reaches the score.

    Raises `ValueError` where an embedding has not the dimensions of the stored ones.
    """
    if not wanted:
        return {}
    for embedding in wanted.values():
        _check_dimensions(embedding)
    vector = Vector(EMBEDDING_DIMENSIONS)
    given = sa.values(sa.column("number", sa.Integer), sa.column("embedding", sa.Text), name="wanted").data(
        [(number, str([float(value) for value in embedding])) for number, embedding in wanted.items()]
    )
    distance = atoms.c.embedding.cosine_distance(sa.cast(given.c.embedding, vector))
    nearest = (
        sa.select(atoms.c.id, distance.label("distance"))
        .where(atoms.c.embedding.is_not(None))
        .order_by(distance)
        .limit(1)
        .lateral("nearest")
    )
    rows = connection.execute(
        sa.select(given.c.number, nearest.c.id, nearest.c.distance).join_from(given, nearest, sa.true())
    )
    scored = {number: Similar(id, min(1.0, max(0.0, 1 - distance / 2)), "meaning") for number, id, distance in rows}
    return {number: similar for number, similar in scored.items() if similar.score >= score_from}


def _check_dimensions(embedding: Sequence[float]) -> None:
    if len(embedding) != EMBEDDING_DIMENSIONS:
        raise ValueError(
            f"an embedding has {len(embedding)} dimensions, those of atoms have {EMBEDDING_DIMENSIONS}: "
            "make it with the model that the stored ones are from"
        )
