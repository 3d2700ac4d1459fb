"""The pairs of names that may be similar, found through a part that similar names must share, never by comparing all pairs.

No similar pair is missed until the names have too many candidates. Then each name is compared with the nearest in size only, and
`left_out` counts the others. So time grows with n log n. Memory is about 0.5 KB per name; constants bound the rest.
"""

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

CANDIDATES_PER_NAME = 2_000
"""On average, at 30 ns each. 10,800 real names have 16; 200,000 names of two to four words of one vocabulary have 1,120."""

PAIRS_PER_NAME, PAIRS_IN_ANY_CASE = 100, 2_000_000
"""On average, and in all, at about 1 µs each. 11,771 real titles have 8 similar ones ("Newsletter #62")."""

CANDIDATES_AT_ONCE, NAMES_AT_ONCE, COMPARED_AT_ONCE = 300_000, 20_000, 20_000
LONGEST_LETTERS = 100
"""Letters of longer names are not compared: a pair that shares 90 % of so many letters shares its trigrams, too."""

RANK_BITS = 28
BASE = np.uint64(0x9E3779B97F4A7C15)
ROUNDING = 1e-9

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Part = tuple[int, int, int]
"""The number of a piece, and where it begins and ends in a text."""


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


def by_letters(texts: Sequence[str], share: float) -> Iterator[Candidates]:
    """All pairs whose texts have so great a share (0.9 to 1) of letters in common, in their order, and few others.

    If one text becomes the other by k insertions and deletions, one of k + 1 pieces of it is in the other, moved by at most k.
    """
    by_length = _Texts(texts)
    return _bounded(
        (pairs for longer in by_length.lengths for pairs in by_length.joined(longer, share)), by_length.order
    )


@dataclass(frozen=True)
class TrigramSets:
    """Sets of trigrams by rank (ascending size): `rarity` has the numbers of one set after the other, rarest first."""

    order: Integers
    sizes: Integers
    rarity: NDArray[np.int32]

    @classmethod
    def of(cls, names: Iterable[Collection[str]]) -> "TrigramSets":
        """The sets of these trigrams, in any order; a rarer trigram has a lower number."""
        number_of, numbers, lengths = dict[str, int](), array("i"), array("i")
        for trigrams in names:
            numbers.extend([number_of.setdefault(trigram, len(number_of)) for trigram in trigrams])
            lengths.append(len(trigrams))
        flat, sizes = np.asarray(numbers), np.asarray(lengths).astype(np.int64)
        counts, texts = np.bincount(flat, minlength=len(number_of)), np.array(list(number_of), dtype=str)
        order = np.argsort(sizes, kind="stable")
        keys = np.repeat(_places(order), sizes)
        keys <<= RANK_BITS
        keys |= _places(np.lexsort((texts, counts)))[flat]
        keys.sort()
        keys &= (1 << RANK_BITS) - 1
        return cls(order, sizes[order], keys.astype(np.int32))

    @cached_property
    def starts(self) -> Integers:
        """Where each set begins in `rarity`, and the end of the last."""
        return np.append(0, np.cumsum(self.sizes))

    @cached_property
    def ranks(self) -> Integers:
        """The rank of each place."""
        return _places(self.order)

    def similar(self, share: float) -> Iterator[Candidates]:
        """All pairs of which so great a share (0 to 1) of all trigrams is common, and few others.

        Such a pair has a trigram in common among the rarest few of both (prefix filter of set similarity joins).
        """
        prefix = self.sizes - np.ceil(share * self.sizes - ROUNDING).astype(np.int64) + 1
        prefix_of_smaller = self.sizes - np.ceil(2 * share / (1 + share) * self.sizes - ROUNDING).astype(np.int64) + 1
        index = _index([self._first(prefix_of_smaller, low, high) for low, high in _blocks(len(self.sizes))])
        smallest = np.searchsorted(self.sizes, np.ceil(share * self.sizes - ROUNDING))
        blocks = (_joined(index, self._first(prefix, low, high), smallest) for low, high in _blocks(len(self.sizes)))
        joined = (pairs.where(self._may_share(pairs, share)) for block in blocks for pairs in block)
        return _bounded(joined, self.order)

    def shared(self, pairs: Candidates) -> tuple[Integers, Integers]:
        """The number of common trigrams of each pair of places, and of all its trigrams."""
        one, other = self.ranks[pairs.one], self.ranks[pairs.other]
        parts = range(0, len(one), COMPARED_AT_ONCE)
        common = [self._common(*(side[at : at + COMPARED_AT_ONCE] for side in (one, other))) for at in parts]
        shared = np.concatenate(common) if common else np.zeros(0, dtype=np.int64)
        return shared, self.sizes[one] + self.sizes[other] - shared

    def _common(self, one: Integers, other: Integers) -> Integers:
        both = np.concatenate([self._keys(one), self._keys(other)])
        both.sort()
        return np.bincount(both[1:][both[1:] == both[:-1]] >> RANK_BITS, minlength=len(one))

    def _keys(self, ranks: Integers) -> Integers:
        """The entries of these sets, each with the position of its set in `ranks`."""
        sizes = self.sizes[ranks]
        positions = np.repeat(np.arange(len(ranks)), sizes)
        at = np.arange(len(positions)) + np.repeat(self.starts[ranks] - np.cumsum(sizes) + sizes, sizes)
        return positions << RANK_BITS | self.rarity[at]

    def _entries(self, low: int, high: int) -> tuple[Integers, Integers]:
        """The numbers and the owners of all entries of these ranks."""
        owners = np.repeat(np.arange(low, high), self.sizes[low:high])
        return self.rarity[self.starts[low] : self.starts[high]].astype(np.int64), owners

    def _first(self, most: Integers, low: int, high: int) -> tuple[Integers, Integers]:
        """Of these ranks, the first entries of each, at most so many, and their owners."""
        rarity, owners = self._entries(low, high)
        first = np.arange(len(owners)) + self.starts[low] - self.starts[owners] < most[owners]
        return rarity[first], owners[first]

    @cached_property
    def _signatures(self) -> Hashes:
        """256 bits for each name; two names differ in at least as many trigrams as in bits."""
        bits = np.zeros((4, len(self.sizes)), dtype=np.uint64)
        for low, high in _blocks(len(self.sizes)):
            rarity, owners = self._entries(low, high)
            np.bitwise_or.at(bits, ((rarity >> 6) & 3, owners), np.uint64(1) << (rarity & 63).astype(np.uint64))
        return bits

    def _may_share(self, pairs: Candidates, share: float) -> NDArray[np.bool_]:
        """Whether the signatures of the two allow so great a share."""
        different = np.bitwise_count(self._signatures[:, pairs.one] ^ self._signatures[:, pairs.other]).sum(axis=0)
        both = self.sizes[pairs.one] + self.sizes[pairs.other]
        return np.asarray(different <= (1 - share) / (1 + share) * both + ROUNDING)


def _blocks(total: int) -> list[tuple[int, int]]:
    return [(low, min(low + NAMES_AT_ONCE, total)) for low in range(0, total, NAMES_AT_ONCE)]


def _places(order: Integers) -> Integers:
    """The inverse permutation."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


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
        index = _index([(keys.ravel(), np.repeat(ranks, keys.shape[1])) for keys, ranks in held])
        ranks, prefixes, lowest = self.ranks(longer), self.prefixes[longer], np.zeros_like(self.order)
        for low, high in _blocks(len(ranks)):
            probing = np.concatenate([_parts(prefixes[low:high], *places) for places in probes], axis=1)
            yield from _joined(index, (probing.ravel(), np.repeat(ranks[low:high], probing.shape[1])), lowest)

    def common_parts(
        self, shorter: int, longer: int, share: float
    ) -> tuple[tuple[Hashes, Integers], tuple[list[Part], int]] | None:
        """The keys of the pieces of the shorter texts with their ranks, and which parts of the longer ones may equal them."""
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
        return held, (inside, shorter)


def _parts(prefixes: Hashes, parts: Sequence[Part], salt: int) -> Hashes:
    """A key of each part of each text; equal parts of equal number have equal keys."""
    number, low, high = np.array(parts, dtype=np.int64).T
    powers = np.cumprod(np.append(np.uint64(1), np.full(max(high - low), BASE)), dtype=np.uint64)
    hashes = prefixes[:, high] - prefixes[:, low] * powers[high - low]
    mixed = (hashes + (number * 1_000 + salt).astype(np.uint64)) * BASE
    return np.asarray((mixed ^ (mixed >> np.uint64(32))) * BASE >> np.uint64(RANK_BITS + 1), dtype=np.uint64)


def _index(held: Sequence[tuple[NDArray[np.integer], Integers]]) -> Integers:
    """The sorted entries, each a key and the rank that has it."""
    entries = [keys.astype(np.int64) << RANK_BITS | ranks for keys, ranks in held]
    return np.sort(np.concatenate(entries)) if entries else np.zeros(0, dtype=np.int64)


def _joined(index: Integers, probes: tuple[NDArray[np.integer], Integers], lowest: Integers) -> Iterator[Candidates]:
    """The ranks of probing names, which ascend, and of indexed names of an equal key from `lowest` to below the probing rank."""
    if not len(probes[0]):
        return
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
