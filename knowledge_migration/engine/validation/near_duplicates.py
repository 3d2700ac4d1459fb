"""Finds near-duplicate topic names for the data quality report; it merges nothing and reads no database.

Similarity is the greater of pg_trgm's trigram similarity (without the extension) and, from 90 %, the spelling similarity of
letters and digits. On 1,826 real names, 60 % finds all 288 pairs of pg_trgm and 26 more, of which 22 are true duplicates.
Time grows with the square of the names (10,800 names: 0.8 s); memory is bounded by `CELLS_AT_ONCE`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from knowledge_migration.knowledge.duplicates.names import squeezed, trigrams

SPELLING_COUNTS_FROM_PERCENT = 90.0
"""Of the pairs that 85 % would add on the same names, 51 of 83 are true duplicates; of 80 %, 86 of 224."""

CELLS_AT_ONCE = 2_000_000
"""Pairs per block: 16 MB per matrix, and four matrices exist at once."""

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
    """The number of near duplicates among the `compared` pairs, and the most similar pairs first."""

    count: int
    compared: int
    pairs: tuple[NamePair, ...]


def near_duplicates(
    topics: Sequence[tuple[int, str]],
    *,
    similarity_percent: float,
    sample: int,
    progress: Callable[[str], None] | None = None,
) -> NearDuplicates:
    """Compares all pairs of `(id, name)`; the count is exact, `sample` limits the pairs returned (§2.1)."""
    names = _Names(tuple(name for _, name in topics))
    count, best = 0, list[tuple[float, int, int]]()
    for block in _blocks(len(topics)):
        similarities = _similarities(names, block, similarity_percent)
        reached = np.argwhere(similarities >= similarity_percent)
        count += len(reached)
        best = sorted(best + _most_similar(similarities, reached, block.start, sample))[:sample]
        if progress:
            progress(f"compared {block.stop:,} of {len(topics):,} topic names")
    compared = len(topics) * (len(topics) - 1) // 2
    return NearDuplicates(count, compared, tuple(_pair(topics, *one) for one in best))


@dataclass(frozen=True)
class _Names:
    """The compared forms of the names, and the names of each trigram."""

    names: tuple[str, ...]

    @cached_property
    def squeezed(self) -> list[str]:
        return [squeezed(name) for name in self.names]

    @cached_property
    def trigrams(self) -> list[frozenset[str]]:
        return [trigrams(name) for name in self.names]

    @cached_property
    def trigram_counts(self) -> NDArray[np.int64]:
        return np.array([len(trigrams) for trigrams in self.trigrams], dtype=np.int64)

    @cached_property
    def having(self) -> dict[str, NDArray[np.int64]]:
        places: dict[str, list[int]] = {}
        for place, trigrams_of_name in enumerate(self.trigrams):
            for trigram in trigrams_of_name:
                places.setdefault(trigram, []).append(place)
        return {trigram: np.array(names, dtype=np.int64) for trigram, names in places.items()}


def _blocks(total: int) -> Iterator[range]:
    width = max(1, CELLS_AT_ONCE // max(1, total))
    return (range(low, min(low + width, total)) for low in range(0, total, width))


def _similarities(names: _Names, block: range, similarity_percent: float) -> Similarities:
    """Block by all names from its start; the lower triangle is zero, so each pair counts once."""
    spelling = _spelling_similarities(names, block, max(similarity_percent, SPELLING_COUNTS_FROM_PERCENT))
    for row, place in enumerate(block):
        np.maximum(spelling[row], _trigram_similarities(names, place, block.start), out=spelling[row])
    return np.triu(spelling, k=1)


def _spelling_similarities(names: _Names, block: range, from_percent: float) -> Similarities:
    from rapidfuzz import fuzz, process

    return process.cdist(
        names.squeezed[block.start : block.stop],
        names.squeezed[block.start :],
        scorer=fuzz.ratio,
        score_cutoff=from_percent,
        dtype=np.float64,
        workers=-1,
    )


def _trigram_similarities(names: _Names, place: int, start: int) -> Similarities:
    """Shared trigrams of all trigrams, in percent; float64, because 3 of 5 is 59.999996 in float32."""
    own = names.trigrams[place]
    if not own:
        return np.zeros(len(names.names) - start)
    places = np.concatenate([names.having[trigram] for trigram in own])
    shared = np.bincount(places, minlength=len(names.names))[start:]
    return 100.0 * shared / (len(own) + names.trigram_counts[start:] - shared)


def _most_similar(
    similarities: Similarities, reached: NDArray[np.int64], start: int, sample: int
) -> list[tuple[float, int, int]]:
    """The best of a block as (negative similarity, place, other place), which sorts the best first."""
    values = similarities[reached[:, 0], reached[:, 1]]
    best = np.argsort(-values, kind="stable")[:sample]
    return [(-float(values[at]), start + int(reached[at, 0]), start + int(reached[at, 1])) for at in best]


def _pair(topics: Sequence[tuple[int, str]], negative: float, place: int, other: int) -> NamePair:
    return NamePair(*topics[place], *topics[other], similarity_percent=round(-negative, 1))
