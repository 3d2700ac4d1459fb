"""Which existing topic or atom is a candidate most similar to: exact before spelling before meaning.

- exact: the same name, case-sensitive; always asked of the database. Score 1.0. Of several atoms of one title, the one
  of the same content, then the oldest.
- spelling: the score of `names`, from 0.70 for topics and 0.98 for atoms. Searched in memory, or through pg_trgm where
  the database has it and a trigram index. Whatever finds a name, its row is read again and scored as it is now, so a
  stale index never gives a wrong id.
- meaning: atoms only, by their embeddings, where the candidate and the stored atoms have some.

A blank name is similar to nothing. Nothing is written, and candidates are not compared with each other.

Measured on the 1,826 real topics of `data/small`, of which 851 have at least one twin by the sources' own words (510
declared pairs, 1,002 with those that follow). Each topic in turn is the candidate and gets one answer or none;
`python -m knowledge_migration_tests.benchmarks.duplicates` prints the table, a test holds the shipped row.

    tier                            score from  answers  right  precision  recall
    exact                                 1.00        0      0          -       0   (topics.name is unique)
    spelling                              0.50      735    398      0.541   0.468
    spelling                              0.60      442    282      0.638   0.331
    spelling                              0.65      341    245      0.718   0.288
    spelling, as shipped                  0.70      290    227      0.783   0.267
    spelling                              0.80      226    184      0.814   0.216
    spelling                              0.90      218    176      0.807   0.207
    vectors of description                0.80      171      6      0.035   0.007
    vectors of name and description       0.70      930    493      0.530   0.579
    vectors of name and description       0.80      345    249      0.722   0.293
    the same where spelling is silent     0.75      366    182      0.497   0.214
    the same where spelling is silent     0.80      131     74      0.565   0.087
    the same where spelling is silent     0.85       43     25      0.581   0.029

- 0.70 for spelling: of what 0.65 adds a third is right. Of the 63 wrong answers 16 are the same thing to the eye
  ("latex" and "LaTeX", "api-rest" and "REST API"), so that its precision is nearer to 0.84.
- Topics have no embedding, and no vector made of their texts is searched in its place. Descriptions alone find nothing;
  with names, vectors add 74 right answers to 57 wrong ones, of which none is the same thing to the eye ("terraform
  login" and "terraform logout"): that is spelling again, at a precision that a reviewer would stop to trust.
- The twins that no tier finds are mostly other names for one thing ("mssql" and "sql-server"). Of the 851, 476 have no
  description.
- Atoms have no declared twins; 0.98 for their titles was chosen by eye on the 10,521 titles of `data/small`. Of the 39
  pairs from 0.98 on 31 say the same; of 40 drawn from 0.95 to 0.98 some 15, of 25 from 0.90 to 0.95 some 6: "Compress a
  file" and "Uncompress a file", sentences of one pattern about different things.
- Tiers are not ranked by score: no data calibrates one against the other, and no embedding was at hand to measure.

A first search reads all names; call `refresh` before serving, so that no request waits for it (100,000 names: 2.6 s).
One search among 100,000 takes 10 ms in memory and 8 ms through pg_trgm (p95 12 and 14 ms, two cores), ten at once 61
and 53 ms. In memory that is time of the calling thread: on an event loop, of the loop.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.exact import of_exactly_this_name
from knowledge_migration.knowledge.duplicates.meaning import nearest_atoms
from knowledge_migration.knowledge.duplicates.model import (
    ATOM_TITLES,
    TOPIC_NAMES,
    AtomCandidate,
    Similar,
    TopicCandidate,
)
from knowledge_migration.knowledge.duplicates.names import normalised
from knowledge_migration.knowledge.duplicates.options import DuplicateOptions
from knowledge_migration.knowledge.duplicates.spelling import SpellingSearch

Found = dict[int, Similar]


class DuplicateFinder:
    """One for each process and database; safe to share between threads and tasks."""

    def __init__(self, options: DuplicateOptions | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options or DuplicateOptions()
        self._topics = SpellingSearch(TOPIC_NAMES, self._options.topic_spelling_from, self._options, clock)
        self._atoms = SpellingSearch(ATOM_TITLES, self._options.atom_spelling_from, self._options, clock)

    def refresh(self, connection: sa.Connection) -> None:
        """Reads what is not held yet (100,000 names: 2.6 s the first time)."""
        self._topics.refresh(connection)
        self._atoms.refresh(connection)

    def similar_topics(self, connection: sa.Connection, candidates: Sequence[TopicCandidate]) -> list[Similar | None]:
        """For each candidate the topic it is most similar to, or None (§4.2)."""
        wanted = _named((candidate.name, candidate.description) for candidate in candidates)
        found = _by_name(connection, self._topics, wanted)
        return [found.get(number) for number in range(len(candidates))]

    def similar_atoms(self, connection: sa.Connection, candidates: Sequence[AtomCandidate]) -> list[Similar | None]:
        """For each candidate the atom it is most similar to, or None (§4.2).

        Raises `ValueError` where an embedding has not the dimensions of the stored ones.
        """
        wanted = _named((candidate.title, candidate.content) for candidate in candidates)
        found = _by_name(connection, self._atoms, wanted)
        embeddings = {
            number: candidate.embedding
            for number, candidate in enumerate(candidates)
            if candidate.embedding is not None and number not in found
        }
        nearest = nearest_atoms(connection, embeddings, score_from=self._options.atom_meaning_from)
        return [found.get(number) or nearest.get(number) for number in range(len(candidates))]


def _named(candidates: Iterable[tuple[str, str]]) -> dict[int, tuple[str, str]]:
    """The (name, detail) of each candidate by its number, without the blank ones."""
    return {number: named for number, named in enumerate(candidates) if normalised(named[0])}


def _by_name(connection: sa.Connection, spelling: SpellingSearch, wanted: Mapping[int, tuple[str, str]]) -> Found:
    exact = of_exactly_this_name(connection, spelling.names, wanted)
    left = {number: name for number, (name, _) in wanted.items() if number not in exact}
    return {
        **{number: Similar(id, 1.0, "exact") for number, id in exact.items()},
        **spelling.similar(connection, left),
    }
