"""Finds near-duplicate topic names for the data quality report; it merges nothing and reads no database.

Similarity is the greater of pg_trgm's trigram similarity (without the extension) and, from 90 %, the spelling similarity of
letters and digits. On 1,826 real names, 60 % finds all 288 pairs of pg_trgm and 26 more, of which 22 are true duplicates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowledge_migration.engine.validation.similarity_join import Candidates, TrigramSets, by_letters
from knowledge_migration.knowledge.duplicates.names import squeezed, trigrams

SPELLING_COUNTS_FROM_PERCENT = 90.0
"""Of the pairs that 85 % would add on the same names, 51 of 83 are true duplicates; of 80 %, 86 of 224."""

Similarities = NDArray[np.float64]


@dataclass(frozen=True)
class NamePair:
    """Two topics with similar names; `similarity_percent` is 0 to 100."""

    id: int
    name: str
    other_id: int
    other_name: str
    similarity_percent: float


@dataclass(frozen=True)
class NearDuplicates:
    """The number of near duplicates among the `compared` pairs, and the most similar pairs first.

    `left_out` pairs share something but were too many to be compared; then the number is at least `count`.
    """

    count: int
    compared: int
    pairs: tuple[NamePair, ...]
    left_out: int = 0


def near_duplicates(
    topics: Sequence[tuple[int, str]],
    *,
    similarity_percent: float,
    sample: int,
    progress: Callable[[str], None] = lambda _: None,
) -> NearDuplicates:
    """The near duplicates among `(id, name)`; `sample` limits the pairs returned (§2.1)."""
    names = _Names([squeezed(name) for _, name in topics], TrigramSets.of(trigrams(name) for _, name in topics))
    count, left_out, best, message = 0, 0, list[tuple[float, int, int]](), ""
    for compared, pairs, similarities in names.similar(similarity_percent):
        count, left_out = count + len(similarities), left_out + pairs.left_out
        best = sorted(best + _most_similar(pairs, similarities, sample))[:sample]
        before, message = message, _message(compared, pairs.done, len(topics))
        if message != before:
            progress(message)
    every = len(topics) * (len(topics) - 1) // 2
    return NearDuplicates(count, every, tuple(_pair(topics, *one) for one in best), left_out)


def _message(compared: str, done: int, total: int) -> str:
    return f"compared the {compared} of {10 * (10 * done // total)} % of {total:,} topic names"


@dataclass(frozen=True)
class _Names:
    """The compared forms of the names."""

    squeezed: list[str]
    trigrams: TrigramSets

    def similar(self, percent: float) -> Iterator[tuple[str, Candidates, Similarities]]:
        """Each pair that reaches the percent once: by trigrams, then those that only reach it by letters."""
        by_spelling_from = max(percent, SPELLING_COUNTS_FROM_PERCENT)
        for pairs in self.trigrams.similar(percent / 100):
            shared = self._trigram_similarities(pairs)
            pairs, shared = pairs.where(shared >= percent), shared[shared >= percent]
            yield "trigrams", pairs, np.maximum(shared, self._letter_similarities(pairs, by_spelling_from))
        for pairs in by_letters(self.squeezed, by_spelling_from / 100):
            letters = self._letter_similarities(pairs, by_spelling_from)
            pairs, letters = pairs.where(letters > 0), letters[letters > 0]
            is_new = self._trigram_similarities(pairs) < percent
            yield "letters", pairs.where(is_new), letters[is_new]

    def _trigram_similarities(self, pairs: Candidates) -> Similarities:
        """Shared trigrams of all trigrams, in percent; float64, because 3 of 5 is 59.999996 in float32."""
        shared, every = self.trigrams.shared(pairs)
        return np.asarray(100.0 * shared / np.maximum(every, 1))

    def _letter_similarities(self, pairs: Candidates, from_percent: float) -> Similarities:
        """Common letters in their order, in percent; 0 below `from_percent`."""
        from rapidfuzz import fuzz, process

        one, other = ([self.squeezed[place] for place in places] for places in (pairs.one, pairs.other))
        return process.cpdist(one, other, scorer=fuzz.ratio, score_cutoff=from_percent, dtype=np.float64)


def _most_similar(pairs: Candidates, similarities: Similarities, sample: int) -> list[tuple[float, int, int]]:
    """The best as (negative similarity, place, other place), which sorts the best first."""
    best = np.lexsort((pairs.other, pairs.one, -similarities))[:sample]
    return [(-float(similarities[at]), int(pairs.one[at]), int(pairs.other[at])) for at in best]


def _pair(topics: Sequence[tuple[int, str]], negative: float, place: int, other: int) -> NamePair:
    return NamePair(*topics[place], *topics[other], similarity_percent=round(-negative, 1))
