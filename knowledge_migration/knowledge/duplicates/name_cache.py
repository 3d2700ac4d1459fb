"""Keeps the names in memory near to the database. It is never the truth: what is found in it is confirmed.

Before each search the rows with greater ids than any seen are read. What that misses (a rename, a deletion, a lower id
that was committed later) is found every `full_refresh_seconds`: the server makes one checksum for each block of ids,
and only the blocks that differ are read again, so that 100,000 names are compared without being sent.

No lock is held while the database is asked: on an event loop the same thread would wait for itself.
"""

import logging
import threading
from collections.abc import Callable

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.model import Names
from knowledge_migration.knowledge.duplicates.name_index import BLOCK_BITS, HeldName, NameIndex, neighbours
from knowledge_migration.knowledge.duplicates.options import DuplicateOptions

logger = logging.getLogger(__name__)


class NameCache:
    """The names of one column, shared by all threads."""

    def __init__(self, names: Names, options: DuplicateOptions, clock: Callable[[], float]) -> None:
        self._names = names
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
            self._add(self._read(connection, self._names.id > (self._index.last_id or 0)))
        return None if self._too_many else self._index

    def _compare(self, connection: sa.Connection) -> None:
        """Reads the blocks again whose checksum is not the one that is held."""
        began = self._clock()
        there = _checksums(connection, self._names)
        if sum(count for count, _ in there.values()) > self._options.most_names_held:
            self._give_up()
        else:
            self._replace(connection, there)
        self._compared_at = began

    def _replace(self, connection: sa.Connection, there: dict[int, tuple[int, int]]) -> None:
        held = {number: (len(block.held), block.checksum) for number, block in self._index.blocks.items()}
        changed = {number for number in held.keys() | there.keys() if held.get(number) != there.get(number)}
        for numbers in neighbours(changed):
            ids = self._names.id.between(numbers.start << BLOCK_BITS, (numbers.stop << BLOCK_BITS) - 1)
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
        names = self._names
        rows = connection.execute(
            sa.select(names.id, names.column, _checksum(names))
            .where(which)
            .order_by(names.id)
            .limit(self._options.most_names_held + 1)
        )
        return [HeldName(id, name, checksum) for id, name, checksum in rows]

    def _give_up(self) -> None:
        if not self._too_many:
            logger.warning(
                "%s has more than %s names, the most that are held in memory: similar spelling is not searched. Create "
                "a trigram index on %s (pg_trgm), or raise most_names_held",
                self._names.table.name,
                f"{self._options.most_names_held:,}",
                self._names.column,
            )
        with self._lock:
            self._index, self._too_many = NameIndex({}), True


def _checksum(names: Names) -> sa.ColumnElement[int]:
    """Of name and id; the server computes it, for the rows that are read and for those that are only compared."""
    return sa.func.hashtextextended(names.column, names.id, type_=sa.BigInteger)


def _checksums(connection: sa.Connection, names: Names) -> dict[int, tuple[int, int]]:
    """For each block of ids, how many rows it has and the checksum over them."""
    block = names.id.bitwise_rshift(sa.cast(BLOCK_BITS, sa.Integer)).label("block")
    rows = connection.execute(sa.select(block, sa.func.count(), sa.func.bit_xor(_checksum(names))).group_by(block))
    return {number: (count, checksum) for number, count, checksum in rows}
