"""The pairs of names that may be similar, found through a part that similar names must share, never by comparing all pairs.

No similar pair is missed until the names have too many candidates. Then each name is compared with the nearest in size only, and
`left_out` counts the others. So time grows with n log n; beyond a name's own forms, `CANDIDATES_AT_ONCE` bounds memory.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

CANDIDATES_PER_NAME = 2_000
"""On average, at 30 ns each. 10,800 real names have 16; 200,000 names of two to four words of one vocabulary have 1,120."""

PAIRS_PER_NAME, PAIRS_IN_ANY_CASE = 100, 2_000_000
"""On average, and in all, at about 1 µs each. 11,771 real titles have 8 similar ones ("Newsletter #62")."""

CANDIDATES_AT_ONCE = 300_000
LONGEST_LETTERS = 100
"""Letters of longer names are not compared: a pair that shares 90 % of so many letters shares its trigrams, too."""

RANK_BITS = 28
BASE = np.uint64(0x9E3779B97F4A7C15)
ROUNDING = 1e-9

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Candidates:
    """Distinct pairs of places, the lower one first; `done` names are compared, `left_out` more pairs are not."""

    one: Integers
    other: Integers
    done: int
    left_out: int

    def where(self, kept: NDArray[np.bool_]) -> "Candidates":
        """Those of the pairs."""
        return Candidates(self.one[kept], self.other[kept], self.done, self.left_out)


def by_trigrams(names: Sequence[frozenset[str]], share: float) -> Iterator[Candidates]:
    """All pairs of which so great a share (0 to 1) of all trigrams is common, and few others.

    Such a pair has a trigram in common among the rarest few of both (prefix filter of set similarity joins).
    """
    sets = _Sets(names)
    prefix = sets.sizes - np.ceil(share * sets.sizes - ROUNDING).astype(np.int64) + 1
    prefix_of_smaller = sets.sizes - np.ceil(2 * share / (1 + share) * sets.sizes - ROUNDING).astype(np.int64) + 1
    probing, held = sets.position < prefix[sets.owners], sets.position < prefix_of_smaller[sets.owners]
    smallest = np.searchsorted(sets.sizes, np.ceil(share * sets.sizes - ROUNDING))
    joined = _joined((sets.rarity[held], sets.owners[held]), (sets.rarity[probing], sets.owners[probing]), smallest)
    return _bounded((pairs.where(sets.may_share(pairs, share)) for pairs in joined), sets.order)


def by_letters(texts: Sequence[str], share: float) -> Iterator[Candidates]:
    """All pairs whose texts have so great a share (0.9 to 1) of letters in common, in their order, and few others.

    If one text becomes the other by k insertions and deletions, one of k + 1 pieces of it is in the other, moved by at most k.
    """
    by_length = _Texts(texts)
    return _bounded(
        (pairs for longer in by_length.lengths for pairs in by_length.joined(longer, share)), by_length.order
    )


@dataclass(frozen=True)
class _Sets:
    """Sets of trigrams by rank (ascending size); one entry of the flat arrays is one trigram of one name, rarest first."""

    names: Sequence[frozenset[str]]

    @cached_property
    def order(self) -> Integers:
        return np.argsort([len(trigrams) for trigrams in self.names], kind="stable")

    @cached_property
    def sizes(self) -> Integers:
        return np.array([len(self.names[place]) for place in self.order], dtype=np.int64)

    @cached_property
    def owners(self) -> Integers:
        return np.repeat(np.arange(len(self.names)), self.sizes)

    @cached_property
    def position(self) -> Integers:
        """The place of each entry in its name."""
        return np.arange(len(self.owners)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)

    @cached_property
    def rarity(self) -> Integers:
        counts = Counter(trigram for trigrams in self.names for trigram in trigrams)
        number = {trigram: at for at, (_, trigram) in enumerate(sorted((n, trigram) for trigram, n in counts.items()))}
        numbers = (sorted(number[trigram] for trigram in self.names[place]) for place in self.order)
        return np.fromiter((one for each in numbers for one in each), dtype=np.int64, count=len(self.owners))

    @cached_property
    def signatures(self) -> Hashes:
        """256 bits for each name; two names differ in at least as many trigrams as in bits."""
        bits = np.zeros((4, len(self.names)), dtype=np.uint64)
        word, bit = (self.rarity >> 6) & 3, np.uint64(1) << (self.rarity & 63).astype(np.uint64)
        np.bitwise_or.at(bits, (word, self.owners), bit)
        return bits

    def may_share(self, pairs: Candidates, share: float) -> NDArray[np.bool_]:
        """Whether the signatures of the two allow so great a share."""
        different = np.bitwise_count(self.signatures[:, pairs.one] ^ self.signatures[:, pairs.other]).sum(axis=0)
        both = self.sizes[pairs.one] + self.sizes[pairs.other]
        return np.asarray(different <= (1 - share) / (1 + share) * both + ROUNDING)


@dataclass(frozen=True)
class _Texts:
    """Texts by rank (ascending length), with hashes of their parts."""

    texts: Sequence[str]

    @cached_property
    def order(self) -> Integers:
        return np.argsort([len(text) for text in self.texts], kind="stable")

    @cached_property
    def sorted_lengths(self) -> Integers:
        return np.array([len(self.texts[place]) for place in self.order], dtype=np.int64)

    @cached_property
    def lengths(self) -> list[int]:
        return [int(length) for length in np.unique(self.sorted_lengths) if length <= LONGEST_LETTERS]

    def ranks(self, length: int) -> Integers:
        low, high = np.searchsorted(self.sorted_lengths, [length, length + 1])
        return np.arange(low, high)

    @cached_property
    def prefixes(self) -> dict[int, Hashes]:
        """For each length the hash of each beginning of each text; arithmetic is modulo 2^64."""
        return {length: self._prefixes(length) for length in self.lengths}

    def _prefixes(self, length: int) -> Hashes:
        texts = "".join(self.texts[self.order[rank]] for rank in self.ranks(length))
        codes = np.frombuffer(texts.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
        hashes = np.zeros((len(self.ranks(length)), length + 1), dtype=np.uint64)
        for at, code in enumerate(codes.reshape(len(hashes), length).T):
            hashes[:, at + 1] = hashes[:, at] * BASE + code + np.uint64(1)
        return hashes

    def joined(self, longer: int, share: float) -> Iterator[Candidates]:
        """The texts of this length with those that are not longer."""
        parts = [self.common_parts(shorter, longer, share) for shorter in self.lengths if shorter <= longer]
        held, probes = zip(*(part for part in parts if part), strict=True)
        index = np.concatenate([keys.ravel() for keys, _ in held])
        ranks = np.concatenate([np.repeat(ranks, keys.shape[1]) for keys, ranks in held])
        probing = np.concatenate(probes, axis=1)
        probing_ranks = np.repeat(self.ranks(longer), probing.shape[1])
        return _joined((index, ranks), (probing.ravel(), probing_ranks), np.zeros_like(self.order))

    def common_parts(self, shorter: int, longer: int, share: float) -> tuple[tuple[Hashes, Integers], Hashes] | None:
        """The keys of the pieces of the shorter texts with their ranks, and those of the parts of the longer ones."""
        edits = int((1 - share) * (shorter + longer) + ROUNDING)
        deleted, inserted = (edits - longer + shorter) // 2, (edits + longer - shorter) // 2
        if deleted < 0:
            return None
        inserted = deleted + longer - shorter
        bounds = [shorter * at // (deleted + inserted + 1) for at in range(deleted + inserted + 2)]
        pieces = [(at, low, high) for at, (low, high) in enumerate(pairwise(bounds))]
        # before the first piece that is intact there are exactly as many edits as pieces
        moved = [
            (at, low + at - 2 * deletions, high + at - 2 * deletions)
            for at, low, high in pieces
            for deletions in range(max(0, at - inserted), min(deleted, at) + 1)
        ]
        inside = [(at, low, high) for at, low, high in moved if low >= 0 and high <= longer]
        held = _parts(self.prefixes[shorter], pieces, shorter), self.ranks(shorter)
        return held, _parts(self.prefixes[longer], inside, shorter)


def _parts(prefixes: Hashes, parts: Sequence[tuple[int, int, int]], salt: int) -> Hashes:
    """A key of each (number, low, high) of each text; equal parts of equal number have equal keys."""
    number, low, high = np.array(parts, dtype=np.int64).T
    powers = np.cumprod(np.append(np.uint64(1), np.full(max(high - low), BASE)), dtype=np.uint64)
    hashes = prefixes[:, high] - prefixes[:, low] * powers[high - low]
    mixed = (hashes + (number * 1_000 + salt).astype(np.uint64)) * BASE
    return np.asarray((mixed ^ (mixed >> np.uint64(32))) * BASE >> np.uint64(RANK_BITS + 1), dtype=np.uint64)


def _joined(
    held: tuple[NDArray[np.integer], Integers], probes: tuple[NDArray[np.integer], Integers], lowest: Integers
) -> Iterator[Candidates]:
    """The ranks of probing names, which ascend, and of indexed names of an equal key from `lowest` to below the probing rank."""
    if not len(probes[0]):
        return
    index = np.sort(held[0].astype(np.int64) << RANK_BITS | held[1])
    keys, ranks = probes[0].astype(np.int64) << RANK_BITS, probes[1]
    low, high = np.searchsorted(index, keys | lowest[ranks]), np.searchsorted(index, keys | ranks)
    starts = np.flatnonzero(np.diff(ranks, prepend=-1))
    nearest = np.maximum(low, high - _window(high - low, max(CANDIDATES_AT_ONCE, CANDIDATES_PER_NAME * len(starts))))
    left_out = int((nearest - low).sum())
    before = np.cumsum(high - nearest) - (high - nearest)
    parts = np.flatnonzero(np.diff(before[starts] // CANDIDATES_AT_ONCE, prepend=-1))
    for part, end in zip(starts[parts], [*starts[parts[1:]], len(ranks)], strict=True):
        counts = high[part:end] - nearest[part:end]
        at = np.arange(counts.sum()) + np.repeat(nearest[part:end] - before[part:end] + before[part], counts)
        others = index[at] & (1 << RANK_BITS) - 1
        yield Candidates(np.repeat(ranks[part:end], counts), others, int(ranks[end - 1]) + 1, left_out)
        left_out = 0


def _window(counts: Integers, most: int) -> int:
    """The greatest number of candidates for each probe with which there are at most so many in all."""
    if counts.sum() <= most:
        return int(counts.max(initial=0))
    return bisect_right(range(int(counts.max())), most, key=lambda width: int(np.minimum(counts, width).sum())) - 1


def _bounded(candidates: Iterable[Candidates], order: Integers) -> Iterator[Candidates]:
    """Each pair once, by places instead of ranks; where there are too many, those of the nearest ranks."""
    pairs_before = 0
    for pairs in candidates:
        ranks = np.sort(pairs.one << RANK_BITS | pairs.other)
        ranks = ranks[np.diff(ranks, prepend=-1) > 0]
        nearest = _nearest(ranks >> RANK_BITS, PAIRS_PER_NAME * pairs.done + PAIRS_IN_ANY_CASE - pairs_before)
        pairs_before += int(nearest.sum())
        left_out = pairs.left_out + len(ranks) - int(nearest.sum())
        one, other = order[ranks[nearest] >> RANK_BITS], order[ranks[nearest] & (1 << RANK_BITS) - 1]
        yield Candidates(np.minimum(one, other), np.maximum(one, other), pairs.done, left_out)


def _nearest(ascending: Integers, most: int) -> NDArray[np.bool_]:
    """The last entries of each number, equally many of each, at most so many in all."""
    counts = np.bincount(np.cumsum(np.diff(ascending, prepend=ascending[:1]) > 0))
    from_the_end = np.repeat(np.cumsum(counts), counts) - np.arange(len(ascending))
    return np.asarray(from_the_end <= _window(counts, most))
