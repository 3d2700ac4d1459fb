"""The names of one kind in memory, searched by trigrams and by letters. A search result is confirmed in the database.

Before each search the rows with greater ids are read. Every `full_refresh_seconds` the server computes one checksum for
each block of 1,024 ids, and only the blocks that differ are read again. One new name rebuilds one block (14 ms).
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from knowledge_migration.knowledge.duplicates.model import DuplicateOptions
from knowledge_migration.knowledge.duplicates.names import SPELLING_COUNTS_FROM, Marks, Spelling, marks, squeezed, words
from knowledge_migration.knowledge.entity_kinds import EntityKind

logger = logging.getLogger(__name__)

BLOCK_BITS = 10

Keys = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldName:
    """One row as it was read; `checksum` is the server's, of name and id."""

    id: int
    name: str
    checksum: int


@dataclass(frozen=True)
class Block:
    """The names of one range of ids in the order of their letters' count, and for each trigram the places that have it."""

    held: tuple[HeldName, ...]
    squeezed: list[str]
    lengths: Keys
    marks: list[Marks]
    keys: Keys
    starts: Keys
    places: NDArray[np.int16]
    trigram_counts: Keys

    @property
    def checksum(self) -> int:
        """What the server's `bit_xor` over the same rows is."""
        return reduce(xor, (row.checksum for row in self.held), 0)

    def scores(self, wanted: Spelling, own_keys: Keys) -> Scores:
        """The score of each name, marks aside; letters only count from `SPELLING_COUNTS_FROM`."""
        scores = self._shared_trigrams(own_keys)
        low, high = self._alike_in_length(len(wanted.squeezed))
        if low < high:
            letters = process.cdist(
                [wanted.squeezed],
                self.squeezed[low:high],
                scorer=fuzz.ratio,
                score_cutoff=100 * SPELLING_COUNTS_FROM,
                dtype=np.float64,
            )
            np.maximum(scores[low:high], letters[0] / 100, out=scores[low:high])
        return scores

    def _alike_in_length(self, length: int) -> tuple[int, int]:
        """The places whose letters' count allows the least edit similarity: 2 * shorter / (shorter + longer)."""
        widest = SPELLING_COUNTS_FROM / (2 - SPELLING_COUNTS_FROM)
        low, high = np.searchsorted(self.lengths, [length * widest - 1e-9, length / widest + 1e-9])
        return int(low), int(high)

    def _shared_trigrams(self, own_keys: Keys) -> Scores:
        if not len(own_keys) or not len(self.keys):
            return np.zeros(len(self.held))
        at = np.searchsorted(self.keys, own_keys)
        known = at[(at < len(self.keys)) & (self.keys[np.minimum(at, len(self.keys) - 1)] == own_keys)]
        having = [self.places[self.starts[key] : self.starts[key + 1]] for key in known]
        shared = np.bincount(np.concatenate(having), minlength=len(self.held)) if having else np.zeros(len(self.held))
        return np.asarray(shared / (len(own_keys) + self.trigram_counts - shared), dtype=np.float64)


@dataclass(frozen=True)
class NameIndex:
    """All names that are held."""

    blocks: Mapping[int, Block]

    def __len__(self) -> int:
        return sum(len(block.held) for block in self.blocks.values())

    @property
    def last_id(self) -> int | None:
        """The greatest id that was seen."""
        return max((row.id for row in self.blocks[max(self.blocks)].held), default=None) if self.blocks else None

    def with_rows(self, rows: Iterable[HeldName]) -> "NameIndex":
        """With these rows added or replaced."""
        changed = {
            number: block_from([*{row.id: row for row in [*self._held(number), *added]}.values()])
            for number, added in _by_block(rows).items()
        }
        return NameIndex({**self.blocks, **changed})

    def with_blocks(self, numbers: range, other: "NameIndex") -> "NameIndex":
        """These blocks as the other index has them; a block that it has not goes."""
        kept = {number: block for number, block in self.blocks.items() if number not in numbers}
        return NameIndex({**kept, **other.blocks})

    def search(self, wanted: Spelling, *, score_from: float, most: int) -> list[int]:
        """The ids of the names that reach the score, best first; `most` bounds them."""
        own_keys = np.unique(trigram_keys([wanted.name])[1])
        ids = sorted(
            (-float(scores[place]), block.held[place].id)
            for block in self.blocks.values()
            for scores in [block.scores(wanted, own_keys)]
            for place in np.flatnonzero(scores >= score_from)
            if not wanted.marks.tell_apart(block.marks[place])
        )
        return [id for _, id in ids[:most]]

    def _held(self, number: int) -> tuple[HeldName, ...]:
        return self.blocks[number].held if number in self.blocks else ()


def block_from(rows: Iterable[HeldName]) -> Block:
    """The block of these rows, of which each id appears once."""
    letters, held = zip(*sorted(((squeezed(row.name), row) for row in rows), key=_by_length), strict=True)
    row_numbers, keys = trigram_keys([row.name for row in held])
    distinct = np.unique(np.stack([keys, row_numbers]), axis=1)
    unique_keys, starts = np.unique(distinct[0], return_index=True)
    return Block(
        held=held,
        squeezed=list(letters),
        lengths=np.array([len(text) for text in letters], dtype=np.int64),
        marks=[marks(row.name) for row in held],
        keys=unique_keys,
        starts=np.append(starts, len(distinct[0])),
        places=distinct[1].astype(np.int16),
        trigram_counts=np.bincount(distinct[1], minlength=len(held)),
    )


def trigram_keys(names: list[str]) -> tuple[Keys, Keys]:
    """The trigrams of all names, repeated ones too, as (number of the name, three code points in one integer).

    In one pass over one text. A window over two words has a blank in its middle that does not begin a word.
    """
    padded = ["".join(f"  {word} " for word in words(name)) for name in names]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
    rows = np.repeat(np.arange(len(names)), [len(text) for text in padded])
    if len(codes) == 0:
        return rows, codes
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    blank = ord(" ")
    whole = (second != blank) | ((first == blank) & (third != blank))
    return rows[:-2][whole], ((first << 42) | (second << 21) | third)[whole]


def _by_block(rows: Iterable[HeldName]) -> dict[int, list[HeldName]]:
    blocks: dict[int, list[HeldName]] = {}
    for row in rows:
        blocks.setdefault(row.id >> BLOCK_BITS, []).append(row)
    return blocks


def _by_length(item: tuple[str, HeldName]) -> tuple[int, int]:
    return len(item[0]), item[1].id


def neighbours(blocks: Iterable[int], most: int = 16) -> list[range]:
    """These blocks in runs without a gap, of at most so many."""
    runs: list[range] = []
    for number in sorted(blocks):
        if runs and runs[-1].stop == number and len(runs[-1]) < most:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


class NameCache:
    """The names of one kind, shared by all threads. No lock is held during a query: an event loop would wait for itself."""

    def __init__(self, kind: EntityKind, options: DuplicateOptions, clock: Callable[[], float]) -> None:
        self._table, self._id, self._name = kind.entities, kind.entities.c.id, kind.entities.c[kind.label]
        # computed by the server, for the rows that are read and for those that are only compared
        self._checksum = sa.func.hashtextextended(self._name, self._id, type_=sa.BigInteger)
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._index = NameIndex({})
        self._compared_at: float | None = None
        self._too_many = False

    def refreshed(self, connection: sa.Connection) -> NameIndex | None:
        """The index as near to the database as it gets; None where there are more names than may be held."""
        if self._compared_at is None or self._clock() - self._compared_at >= self._options.full_refresh_seconds:
            self._compare(connection)
        elif not self._too_many:
            self._add(self._read(connection, self._id > (self._index.last_id or 0)))
        return None if self._too_many else self._index

    def _compare(self, connection: sa.Connection) -> None:
        """Reads the blocks again whose checksum is not the one that is held."""
        began = self._clock()
        there = self._checksums(connection)
        if sum(count for count, _ in there.values()) > self._options.most_names_held:
            self._give_up()
        else:
            self._replace(connection, there)
        self._compared_at = began

    def _replace(self, connection: sa.Connection, there: dict[int, tuple[int, int]]) -> None:
        held = {number: (len(block.held), block.checksum) for number, block in self._index.blocks.items()}
        changed = {number for number in held.keys() | there.keys() if held.get(number) != there.get(number)}
        for numbers in neighbours(changed):
            ids = self._id.between(numbers.start << BLOCK_BITS, (numbers.stop << BLOCK_BITS) - 1)
            there_now = NameIndex({}).with_rows(self._read(connection, ids))
            with self._lock:
                self._index = self._index.with_blocks(numbers, there_now)
        self._too_many = False

    def _add(self, rows: list[HeldName]) -> None:
        if not rows:
            return
        with self._lock:
            self._index = self._index.with_rows(rows)
        if len(self._index) > self._options.most_names_held:
            self._give_up()

    def _read(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[HeldName]:
        """These rows, but never many more than may be held."""
        query = sa.select(self._id, self._name, self._checksum).where(which).order_by(self._id)
        rows = connection.execute(query.limit(self._options.most_names_held + 1))
        return [HeldName(id, name, checksum) for id, name, checksum in rows]

    def _checksums(self, connection: sa.Connection) -> dict[int, tuple[int, int]]:
        """For each block of ids, how many rows it has and the checksum over them."""
        block = self._id.bitwise_rshift(sa.cast(BLOCK_BITS, sa.Integer)).label("block")
        query = sa.select(block, sa.func.count(), sa.func.bit_xor(self._checksum)).group_by(block)
        return {number: (count, checksum) for number, count, checksum in connection.execute(query)}

    def _give_up(self) -> None:
        if not self._too_many:
            logger.warning(
                "%s has more than %s names, the limit for memory: meaning is not searched, and similar spelling only with "
                "a trigram index on %s (pg_trgm). Create one, or raise most_names_held",
                self._table.name,
                f"{self._options.most_names_held:,}",
                self._name,
            )
        with self._lock:
            self._index, self._too_many = NameIndex({}), True
