"""Which topic names are nearly the same: a report for people. It merges nothing and reads no database.

Two names are near duplicates when the greater of two measures reaches the wanted percent:

- trigrams, counted exactly as PostgreSQL's pg_trgm counts them (so no extension is needed on the user's server);
- spelling with everything but letters and digits taken out, which alone only counts from 90 %. It finds what trigrams
  do not ("self-host" and "selfhost", "Kerbal Space Program" and "kerbalspaceprogram2").

Measured on the real topic names of `data/small` (1,826 names; their sources declare 510 pairs to be one thing, 1,000
with those that follow from them) and `data/large` (10,800), against `similarity(a, b) >= 0.6` of pg_trgm 1.6 on
PostgreSQL 15:

- at 60: 288 of 288 trigram pairs, 314 pairs in all (large: 3,267 of 3,267, 3,777 in all). Of the 26 that spelling
  adds, 22 are declared to be one thing; of the 288 trigram pairs, 156;
- spelling counted from 85 % would add 83 pairs (51 declared), from 80 % 224 (86): "esp32c3" and "esp32s3";
- edit similarity alone reaches all 288 only at 40 %, which is 82,675 pairs; the best of ratio, token sort ratio and
  token set ratio, on words without punctuation, reaches them at 72.7 %, which is 2,308 pairs.

1,826 names take 0.1 s and 10,800 take 0.8 s on two cores (10,800 names that differ in a number only: 2.8 s). The time
grows with the square of the number of names; the memory does not (`CELLS_AT_ONCE`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from knowledge_migration.knowledge.duplicates.names import squeezed, trigrams

SPELLING_COUNTS_FROM_PERCENT = 90.0
"""Below it, names that share their spelling but not their trigrams are rarely the same thing (see the module)."""

CELLS_AT_ONCE = 2_000_000
"""Pairs compared at a time: 16 MB a matrix, and four of them live at once."""

Similarities = NDArray[np.float64]


@dataclass(frozen=True)
class NamePair:
    """Two topics whose names are nearly the same; `similarity_percent` is 0 to 100."""

    id: int
    name: str
    other_id: int
    other_name: str
    similarity_percent: float


@dataclass(frozen=True)
class NearDuplicates:
    """How many of the `compared` pairs are near duplicates, and the most similar of them first."""

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
    """Compares each of the `(id, name)` with each other; the count is exact, `sample` bounds the pairs kept (§2.1)."""
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
    return NearDuplicates(count, compared, tuple(_pair(topics, *found) for found in best))


@dataclass(frozen=True)
class _Names:
    """The names in the forms that are compared, and for each trigram the names that have it."""

    names: tuple[str, ...]

    @cached_property
    def squeezed(self) -> list[str]:
        return [squeezed(name) for name in self.names]

    @cached_property
    def trigrams(self) -> list[frozenset[str]]:
        return [trigrams(name) for name in self.names]

    @cached_property
    def trigram_counts(self) -> NDArray[np.int64]:
        return np.array([len(found) for found in self.trigrams], dtype=np.int64)

    @cached_property
    def having(self) -> dict[str, NDArray[np.int64]]:
        places: dict[str, list[int]] = {}
        for place, found in enumerate(self.trigrams):
            for trigram in found:
                places.setdefault(trigram, []).append(place)
        return {trigram: np.array(found, dtype=np.int64) for trigram, found in places.items()}


def _blocks(total: int) -> Iterator[range]:
    width = max(1, CELLS_AT_ONCE // max(1, total))
    return (range(low, min(low + width, total)) for low in range(0, total, width))


def _similarities(names: _Names, block: range, similarity_percent: float) -> Similarities:
    """Block by everything from its start on; zero where the pair is seen from its other side."""
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
    """Shared trigrams of all trigrams, in percent. In float64, so that 3 of 5 is 60 and not 59.999996 as in float32."""
    own = names.trigrams[place]
    if not own:
        return np.zeros(len(names.names) - start)
    places = np.concatenate([names.having[trigram] for trigram in own])
    shared = np.bincount(places, minlength=len(names.names))[start:]
    return 100.0 * shared / (len(own) + names.trigram_counts[start:] - shared)


def _most_similar(
    similarities: Similarities, reached: NDArray[np.int64], start: int, sample: int
) -> list[tuple[float, int, int]]:
    """The best of a block as (negative similarity, place, other place), so that they sort best first."""
    values = similarities[reached[:, 0], reached[:, 1]]
    best = np.argsort(-values, kind="stable")[:sample]
    return [(-float(values[at]), start + int(reached[at, 0]), start + int(reached[at, 1])) for at in best]


def _pair(topics: Sequence[tuple[int, str]], negative: float, place: int, other: int) -> NamePair:
    return NamePair(*topics[place], *topics[other], similarity_percent=round(-negative, 1))
