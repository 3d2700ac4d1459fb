"""Compares the live database with the latest verified backup, row by row, and classifies each difference. Reads only.

First it compares a count and a checksum of each range of keys. Only where these differ, it reads the hashes of the rows, as two
streams in the same order, so memory does not grow with the table. It ignores the migration's two link columns; NULL equals NULL.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from heapq import merge
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Literal, get_args

from psycopg import sql
from psycopg.rows import tuple_row

from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.fingerprint import TableFingerprint
from knowledge_migration.engine.foundation.inventory import InventoriedTable, Inventory
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import reading
from knowledge_migration.engine.rollback.repair.backup_copy import (
    Sides,
)
from knowledge_migration.engine.rollback.repair.tables import ComparedTable, Key

if TYPE_CHECKING:
    from knowledge_migration.engine.backup.location import Location

DifferenceKind = Literal["added", "written_since", "undated", "altered", "missing"]
"""added: only in the database; written_since: differs, with a later updated_at, so a user wrote it; undated: differs in a table
without updated_at; altered: differs without a later updated_at; missing: only in the backup."""

KINDS: tuple[DifferenceKind, ...] = get_args(DifferenceKind)
KEPT: tuple[DifferenceKind, ...] = ("added", "written_since", "undated")
SAMPLE_ROWS = 20
ROWS_PER_FETCH = 2_000


@dataclass(frozen=True)
class RowDifference:
    """One row that differs from the backup: its key as text, and the hash of its live values where it exists.

    `copies` is more than one only for equal rows of a table without a primary key.
    """

    table: str
    kind: DifferenceKind
    key: Key
    live_hash: int | None
    copies: int = 1


@dataclass(frozen=True)
class TableComparison:
    """One table: rows on both sides, the exact number of differences by kind, and a sample of each."""

    table: str
    backup_rows: int
    live_rows: int
    counts: Mapping[DifferenceKind, int]
    samples: tuple[RowDifference, ...]


@dataclass(frozen=True)
class Comparison:
    """The database at one moment against the backup."""

    backup: "Location"
    backup_taken_at: str
    tables: tuple[TableComparison, ...]
    restore_seconds: float
    seconds: float

    @property
    def counts(self) -> dict[DifferenceKind, int]:
        """The differences by kind, over all tables."""
        return {kind: sum(table.counts.get(kind, 0) for table in self.tables) for kind in KINDS}

    @property
    def rows(self) -> int:
        """The rows of the backup that were compared."""
        return sum(table.backup_rows for table in self.tables)

    @property
    def is_equal(self) -> bool:
        """Whether the legacy tables equal the backup except for rows that users wrote since."""
        counts = self.counts
        return not counts["altered"] and not counts["missing"]

    @property
    def sentence(self) -> str:
        """The result as a sentence."""
        named = [
            f"{count:,} {kind.replace('_', ' ')} in {table.table}"
            for table in self.tables
            for kind in KINDS
            if (count := table.counts.get(kind, 0))
        ]
        if not named:
            return f"All {self.rows:,} rows of {len(self.tables)} tables equal the backup."
        return f"{len(self.tables)} tables equal the backup except for these rows: {', '.join(named)}."

    @property
    def altered(self) -> tuple[str, ...]:
        """The rows that a repair reverts, by table: their number and the keys of a sample, without values."""
        lines = []
        for table in self.tables:
            keys = ["/".join(row.key) for row in table.samples if row.kind == "altered"]
            if count := table.counts.get("altered", 0):
                more = f" and {count - len(keys):,} more" if count > len(keys) else ""
                lines.append(f"{count:,} in {table.table}: {', '.join(keys)}{more}")
        return tuple(lines)

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON, without the hashes of rows."""
        return {
            "backup": str(self.backup),
            "backup_taken_at": self.backup_taken_at,
            "counts": self.counts,
            "tables": [_as_row(table) for table in self.tables],
            "restore_seconds": round(self.restore_seconds, 3),
            "seconds": round(self.seconds, 3),
        }


OnDifference = Callable[[ComparedTable, RowDifference], None]
OnRows = Callable[[str, int], None]


def compare(sides: Sides, *, on_difference: OnDifference | None = None, on_rows: OnRows | None = None) -> Comparison:
    """Compares every table, parents first; calls `on_difference` for each difference and `on_rows` after each table."""
    started = time.perf_counter()
    compared = []
    for table, inventoried in zip(sides.tables, sides.inventory.tables, strict=True):
        with reading(sides.live, table.label):
            compared.append(_compare_table(sides, table, inventoried, on_difference))
        if on_rows:
            on_rows(table.label, compared[-1].backup_rows)
    return Comparison(
        backup=sides.restored.backup.path,
        backup_taken_at=sides.restored.backup.taken_at.isoformat(),
        tables=tuple(compared),
        restore_seconds=sides.restored.seconds,
        seconds=time.perf_counter() - started,
    )


def _compare_table(
    sides: Sides, table: ComparedTable, inventoried: InventoriedTable, on_difference: OnDifference | None
) -> TableComparison:
    alone = Inventory((inventoried,), sides.inventory.taken_at)
    before = fingerprints.take(sides.restored.connection, alone)
    after = fingerprints.take(sides.live, like=before)
    counts: Counter[DifferenceKind] = Counter()
    samples: dict[DifferenceKind, list[RowDifference]] = {kind: [] for kind in KINDS}
    for difference in _differences(sides, table, before.tables[table.label], after.tables[table.label]):
        counts[difference.kind] += difference.copies
        if len(samples[difference.kind]) < SAMPLE_ROWS:
            samples[difference.kind].append(difference)
        if on_difference:
            on_difference(table, difference)
    rows = (before.tables[table.label].rows, after.tables[table.label].rows)
    return TableComparison(table.label, *rows, dict(counts), tuple(chain.from_iterable(samples.values())))


def _differences(
    sides: Sides, table: ComparedTable, before: TableFingerprint, after: TableFingerprint
) -> Iterator[RowDifference]:
    """Of the ranges that differ; of the whole table where it has no ranges."""
    differing = [
        part
        for part in dict.fromkeys([*before.ranges, *after.ranges])
        if before.ranges.get(part) != after.ranges.get(part)
    ]
    if not differing:
        return
    if table.range_key is None:
        yield from _differences_within(sides, table, sql.SQL("true"))
        return
    for part in differing:
        low, high = part.split("..")
        yield from _differences_within(sides, table, table.within(int(low), int(high)))


def _differences_within(sides: Sides, table: ComparedTable, within: sql.Composable) -> Iterator[RowDifference]:
    moment = sides.restored.backup.taken_at.timestamp()
    streams = [_hashes(sides.restored.connection, table, within, 0), _hashes(sides.live, table, within, 1)]
    for _, members in groupby(merge(*streams, key=lambda row: row.place), key=lambda row: row.place):
        yield from _classified(table, list(members), moment)


@dataclass(frozen=True, slots=True)
class _Hashed:
    side: int
    place: int
    key: Key
    hash: int
    stamp: float | None


def _hashes(connection: Connection, table: ComparedTable, within: sql.Composable, side: int) -> Iterator[_Hashed]:
    query = statement(
        "restore/keyed_hashes",
        place=table.place,
        key=table.key_texts,
        hash=table.row_hash,
        stamp=table.stamp,
        table=table.name,
        within=within,
    )
    with connection.cursor(name="knowledge_migration_rows", row_factory=tuple_row) as cursor:
        cursor.itersize = ROWS_PER_FETCH
        cursor.execute(query)
        for place, key, hashed, stamp in cursor:
            yield _Hashed(side, place, tuple(key), hashed, stamp)


def _classified(table: ComparedTable, rows: Iterable[_Hashed], moment: float) -> Iterator[RowDifference]:
    """The differences among the rows of one place: one key, or two where their hashes collide."""
    by_key: dict[Key, tuple[list[_Hashed], list[_Hashed]]] = {}
    for row in rows:
        by_key.setdefault(row.key, ([], []))[row.side].append(row)
    for key, (backed_up, live) in by_key.items():
        surplus = len(live) - len(backed_up)
        if surplus:
            kind: DifferenceKind = "added" if surplus > 0 else "missing"
            yield RowDifference(table.label, kind, key, live[0].hash if live else None, abs(surplus))
        elif backed_up[0].hash != live[0].hash:
            yield RowDifference(table.label, _kind(table, backed_up[0], live[0], moment), key, live[0].hash)


def _kind(table: ComparedTable, backed_up: _Hashed, live: _Hashed, moment: float) -> DifferenceKind:
    """A stamp later than in the backup counts, even if it is earlier than the backup: a transaction stamps its begin."""
    if not table.is_stamped:
        return "undated"
    if live.stamp is None:
        return "altered"
    later = backed_up.stamp is None or live.stamp > backed_up.stamp or live.stamp > moment
    return "written_since" if later else "altered"


def _as_row(table: TableComparison) -> dict[str, Any]:
    row = asdict(table)
    row["samples"] = [{"kind": one.kind, "key": list(one.key)} for one in table.samples]
    return row
