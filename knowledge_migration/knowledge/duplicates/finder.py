"""The existing topic or atom that a candidate is most similar to: exact before spelling before meaning. Writes nothing.

An exact name (case-sensitive) is always read from the database and scores 1.0. A name found otherwise is read again and scored as
it is now. Meaning is searched for atoms with embeddings and, with a model, for topics. Measurements: docs/benchmarks.md.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from knowledge_migration.knowledge.duplicates.meaning import AtomEmbedder, nearest_atoms
from knowledge_migration.knowledge.duplicates.model import Candidate, DuplicateOptions, Similar
from knowledge_migration.knowledge.duplicates.name_index import NameCache
from knowledge_migration.knowledge.duplicates.name_meaning import MeaningSearch
from knowledge_migration.knowledge.duplicates.name_model import NameModel
from knowledge_migration.knowledge.duplicates.names import normalised
from knowledge_migration.knowledge.duplicates.spelling import SpellingSearch, names_now
from knowledge_migration.knowledge.entity_kinds import ATOM, KINDS, TOPIC, EntityKind


class DuplicateFinder:
    """One for each process and database; safe to share between threads and tasks.

    Call `refresh` before serving: the first search reads all names. A search uses the time of the calling thread.
    """

    def __init__(
        self,
        options: DuplicateOptions | None = None,
        *,
        model: NameModel | None = None,
        vectors: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options = options or DuplicateOptions()
        scores = {TOPIC: options.topic_spelling_from, ATOM: options.atom_spelling_from}
        caches = {kind: NameCache(kind, options, clock) for kind in KINDS}
        self._spelling = {kind: SpellingSearch(kind, scores[kind], options, clock, caches[kind]) for kind in KINDS}
        meaning_from, most = options.topic_meaning_from, options.confirmed
        self._atoms = model and AtomEmbedder(model, options.full_refresh_seconds, clock)
        self._meaning = model and MeaningSearch(model, caches[TOPIC], vectors, score_from=meaning_from, most=most)

    @classmethod
    def with_model(cls, directory: Path | None, vectors: Path | None) -> Self:
        """With the model of that directory, if there is one, and the directory where vectors of names are kept.

        Raises `SettingsError` for a model that cannot be used.
        """
        return cls(model=NameModel(directory) if directory else None, vectors=vectors)

    def refresh(self, connection: sa.Connection) -> None:
        """Reads the names that are not held yet (100,000 names: 2.6 s the first time), and computes missing vectors."""
        for search in self._spelling.values():
            search.refresh(connection)
        if self._meaning:
            self._meaning.refresh(connection)

    def similar(
        self, connection: sa.Connection, kind: EntityKind, candidates: Sequence[Candidate]
    ) -> list[Similar | None]:
        """For each candidate the row that it is most similar to, or None (strategy §4.2); a blank name has none.

        Raises `ValueError` where an embedding has other dimensions than the stored ones.
        """
        named = {number: one for number, one in enumerate(candidates) if normalised(one.label)}
        exact = _of_exactly_this_name(connection, kind, named)
        others = {number: one.label for number, one in named.items() if number not in exact}
        similar = exact | self._spelling[kind].similar(connection, others)
        if self._meaning and kind is TOPIC:
            left = {number: name for number, name in others.items() if number not in similar}
            similar |= self._meaning.similar(connection, left, lambda ids: names_now(connection, kind, ids))
        if self._atoms and kind is ATOM and len(similar) < len(named):
            candidates = self._atoms.embedded(connection, candidates)
        embeddings = {
            number: one.embedding
            for number, one in enumerate(candidates)
            if kind is ATOM and one.embedding is not None and number not in similar
        }
        similar |= nearest_atoms(connection, embeddings, score_from=self._options.atom_meaning_from)
        return [similar.get(number) for number in range(len(candidates))]


def _of_exactly_this_name(
    connection: sa.Connection, kind: EntityKind, wanted: Mapping[int, Candidate]
) -> dict[int, Similar]:
    """The row of that name (by ix_topics_name or ix_atoms_title); of several, one of that detail, then the oldest."""
    if not wanted:
        return {}
    given = sa.values(
        sa.column("number", sa.Integer), sa.column("label", sa.Text), sa.column("detail", sa.Text), name="wanted"
    ).data([(number, one.label, one.detail) for number, one in wanted.items()])
    columns = kind.entities.c
    rows = connection.execute(
        sa.select(given.c.number, columns.id)
        .join_from(given, kind.entities, columns[kind.label] == given.c.label)
        .ext(distinct_on(given.c.number))
        .order_by(given.c.number, (columns[kind.detail] == given.c.detail).desc(), columns.id)
    )
    return {row.number: Similar(row.id, 1.0, "exact") for row in rows}
