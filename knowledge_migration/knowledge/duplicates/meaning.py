"""The nearest atom in meaning: pgvector's cosine distance on the application's scale, `1 - distance / 2`.

Only for candidates with an embedding and rows that have one. Without a vector index on `atoms.embedding`, the server reads
every embedding for each candidate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import sqlalchemy as sa
from pgvector.sqlalchemy import Vector

from knowledge_migration.knowledge.duplicates.model import Candidate, Similar
from knowledge_migration.knowledge.duplicates.name_model import NameModel
from knowledge_migration.knowledge.tables import EMBEDDING_DIMENSIONS, atoms

COMPARED, SAME_MODEL_FROM = 3, 0.98


class Embedder(Protocol):
    """Turns texts into vectors; must be the model that made the stored vectors, so there is no default."""

    @property
    def dimensions(self) -> int:
        """The length of every vector; it must be that of `atoms.embedding`."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector for each text, in their order."""
        ...


def text_of_atom(title: str, content: str) -> str:
    """The text whose embedding the application stores with an atom."""
    return f"{title}\n\n{content}"


class AtomEmbedder:
    """Embeds candidates with the model of the setting, if that is the one whose embeddings the application stores."""

    def __init__(self, model: NameModel, recheck_seconds: float, clock: Callable[[], float]) -> None:
        self._model = model
        self._recheck_seconds = recheck_seconds
        self._clock = clock
        self._checked: tuple[float, bool] | None = None

    def embedded(self, connection: sa.Connection, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """The candidates, where it can be with an embedding."""
        if not candidates or not self._is_the_applications(connection):
            return candidates
        return [
            one if one.embedding is not None else replace(one, embedding=self._embed(one.label, one.detail))
            for one in candidates
        ]

    def _embed(self, title: str, content: str) -> list[float]:
        return [float(value) for value in self._model.embed(text_of_atom(title, content))]

    def _is_the_applications(self, connection: sa.Connection) -> bool:
        """Whether stored embeddings are what this model says of their atoms; asked again from time to time."""
        if self._model.dimensions != EMBEDDING_DIMENSIONS:
            return False
        now = self._clock()
        if self._checked is None or now - self._checked[0] >= self._recheck_seconds:
            self._checked = now, self._agrees(connection)
        return self._checked[1]

    def _agrees(self, connection: sa.Connection) -> bool:
        stored = sa.select(atoms.c.id, atoms.c.title, atoms.c.content).where(atoms.c.embedding.is_not(None))
        wanted = {row.id: self._embed(row.title, row.content) for row in connection.execute(stored.limit(COMPARED))}
        scores = [
            connection.scalar(
                sa.select(
                    1
                    - atoms.c.embedding.cosine_distance(
                        sa.cast(sa.literal(str(own), sa.Text), Vector(EMBEDDING_DIMENSIONS))
                    )
                )
                .select_from(atoms)
                .where(atoms.c.id == id)
            )
            for id, own in wanted.items()
        ]
        return bool(scores) and all(score is not None and score >= SAME_MODEL_FROM for score in scores)


def nearest_atoms(
    connection: sa.Connection, wanted: Mapping[int, Sequence[float]], *, score_from: float
) -> dict[int, Similar]:
    """The nearest atom that reaches the score, by the number of its embedding; raises `ValueError` for wrong dimensions."""
    if not wanted:
        return {}
    for embedding in wanted.values():
        _refuse_other_dimensions(embedding)
    given = sa.values(sa.column("number", sa.Integer), sa.column("embedding", sa.Text), name="wanted").data(
        [(number, str([float(value) for value in embedding])) for number, embedding in wanted.items()]
    )
    distance = atoms.c.embedding.cosine_distance(sa.cast(given.c.embedding, Vector(EMBEDDING_DIMENSIONS)))
    nearest = sa.select(atoms.c.id, distance.label("distance")).where(atoms.c.embedding.is_not(None))
    nearest_row = nearest.order_by(distance).limit(1).lateral("nearest")
    rows = connection.execute(
        sa.select(given.c.number, nearest_row.c.id, nearest_row.c.distance).join_from(given, nearest_row, sa.true())
    )
    scored = {number: Similar(id, min(1.0, max(0.0, 1 - distance / 2)), "meaning") for number, id, distance in rows}
    return {number: similar for number, similar in scored.items() if similar.score >= score_from}


def _refuse_other_dimensions(embedding: Sequence[float]) -> None:
    if len(embedding) != EMBEDDING_DIMENSIONS:
        raise ValueError(
            f"an embedding has {len(embedding)} dimensions, those of atoms have {EMBEDDING_DIMENSIONS}: "
            "make it with the model that made the stored ones"
        )
