"""What is asked for and what is answered, and where the names stand that are searched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from knowledge_migration.knowledge.tables import atoms, topics

SimilarityType = Literal["exact", "spelling", "meaning"]


@dataclass(frozen=True)
class TopicCandidate:
    """A proposed topic."""

    name: str
    description: str


@dataclass(frozen=True)
class AtomCandidate:
    """A proposed atom; `embedding` is of `embedding.text_of_atom`, by the model that the stored ones are from."""

    title: str
    content: str
    embedding: Sequence[float] | None = None


@dataclass(frozen=True)
class Similar:
    """The existing topic or atom that a candidate is most similar to; `score` is 0 to 1."""

    entity_id: int
    score: float
    type: SimilarityType


@dataclass(frozen=True)
class Names:
    """The column whose values are searched; `detail` decides between several rows of exactly one name."""

    column: sa.Column[Any]
    detail: sa.Column[Any]

    @property
    def table(self) -> sa.Table:
        table = self.column.table
        assert isinstance(table, sa.Table)
        return table

    @property
    def id(self) -> sa.Column[Any]:
        return self.table.c.id


TOPIC_NAMES = Names(topics.c.name, topics.c.description)
ATOM_TITLES = Names(atoms.c.title, atoms.c.content)
