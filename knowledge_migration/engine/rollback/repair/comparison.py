"""Holds the live database against the latest verified backup, row by row, and says of each difference what it is.

Cheap first: both sides give a count and a checksum of each range of keys, and only where these differ are the rows read,
key by key, as hashes. Both sides are streams in the same order, so that memory does not grow with the table. Reads only.
The migration's two link columns are not compared; NULL equals NULL and nothing else.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from psycopg import sql
from psycopg.rows import tuple_row

from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.fingerprint import TableFingerprint
from knowledge_migration.engine.foundation.inventory import InventoriedTable, Inventory
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import reading
from knowledge_migration.engine.rollback.repair.backup_copy import (
    Progress,
    RestoredBackup,
    Sides,
    both_sides,
    restored_backup,
)
from knowledge_migration.engine.rollback.repair.compared_tables import ComparedTable

Kind = Literal["added", "written_since", "undated", "altered", "missing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANING: Mapping[Kind, str] = {
    "added": "only in the database: written since the backup; kept",
    "written_since": "differs, and is stamped later than in the backup: a user wrote it; kept",
    "undated": "differs in a table without updated_at, so that nobody can tell who wrote it; kept",
    "altered": "differs without a later stamp: something else changed it",
    "missing": "only in the backup: deleted since, by a user or otherwise; it cannot be told by whom",
}
KEPT: tuple[Kind, ...] = ("added", "written_since", "undated")
ROWS_PER_FETCH = 2_000

Key = tuple[str, ...]


@dataclass(frozen=True)
class RowDifference:
    """One row that is not as in the backup: its key as text, and the hash of its live values where it is there.

    `copies` is more than one only for equal rows of a table without a primary key.
    """

    table: str
    kind: Kind
    key: Key
    live_hash: int | None
    copies: int = 1


@dataclass(frozen=True)
class TableComparison:
    """What became of one table: rows on both sides, the differences by kind (exact), and some of each."""

    table: str
    backup_rows: int
    live_rows: int
    counts: Mapping[Kind, int]
    samples: tuple[RowDifference, ...]


@dataclass(frozen=True)
class Comparison:
    """The database and the backup of one moment."""

    backup: Path
    backup_taken_at: str
    tables: tuple[TableComparison, ...]
    restore_seconds: float
    seconds: float

    @property
    def counts(self) -> dict[Kind, int]:
        """The differences by kind, over all tables."""
        return {kind: sum(table.counts.get(kind, 0) for table in self.tables) for kind in KINDS}

    @property
    def rows(self) -> int:
        """The rows of the backup that were compared."""
        return sum(table.backup_rows for table in self.tables)

    @property
    def is_equal(self) -> bool:
        """Whether the legacy tables equal the backup but for what users wrote since."""
        counts = self.counts
        return not counts["altered"] and not counts["missing"]

    @property
    def sentence(self) -> str:
        """The result in plain words."""
        named = [
            f"{count:,} {kind.replace('_', ' ')} in {table.table}"
            for table in self.tables
            for kind in KINDS
            if (count := table.counts.get(kind, 0))
        ]
        if not named:
            return f"All {self.rows:,} rows of {len(self.tables)} tables equal the backup."
        return f"{len(self.tables)} tables equal the backup but for these rows: {', '.join(named)}."

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


def compare_with_backup(
    database: Database,
    *,
    scratch: Database,
    tools_dir: Path | None = None,
    sample: int = 20,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
) -> Comparison:
    """Restores the latest verified backup beside the database and compares; see `restored_backup` for what it raises."""
    with (
        restored_backup(database, scratch=scratch, tools_dir=tools_dir, progress=progress) as restored,
        both_sides(database, restored) as sides,
    ):
        return compare(sides, restored, sample=sample, on_rows=on_rows)


def compare(
    sides: Sides,
    restored: RestoredBackup,
    *,
    sample: int = 20,
    on_difference: OnDifference | None = None,
    on_rows: OnRows | None = None,
) -> Comparison:
    """Compares every table and hands over each difference, table by table, parents first; `on_rows` after each table."""
    started = time.perf_counter()
    compared = []
    for table, inventoried in zip(sides.tables, sides.inventory.tables, strict=True):
        with reading(sides.live, table.label):
            compared.append(_compare_table(sides, table, inventoried, sample, on_difference))
        if on_rows:
            on_rows(table.label, compared[-1].backup_rows)
    return Comparison(
        backup=sides.backup.path,
        backup_taken_at=sides.backup.taken_at.isoformat(),
        tables=tuple(compared),
        restore_seconds=restored.seconds,
        seconds=time.perf_counter() - started,
    )


def _compare_table(
    sides: Sides, table: ComparedTable, inventoried: InventoriedTable, sample: int, on_difference: OnDifference | None
) -> TableComparison:
    alone = Inventory((inventoried,), sides.inventory.taken_at)
    before = fingerprints.take(sides.restored, alone)
    after = fingerprints.take(sides.live, like=before)
    tally = _Tally(sample)
    for difference in _differences(sides, table, before.tables[table.label], after.tables[table.label]):
        tally.add(difference)
        if on_difference:
            on_difference(table, difference)
    rows = (before.tables[table.label].rows, after.tables[table.label].rows)
    return TableComparison(table.label, *rows, dict(tally.counts), tuple(tally.samples))


@dataclass
class _Tally:
    """Counts differences by kind and keeps the first of each; it has state, so it is a class."""

    sample: int
    counts: Counter[Kind] = field(default_factory=Counter)
    samples: list[RowDifference] = field(default_factory=list)
    kept: Counter[Kind] = field(default_factory=Counter)

    def add(self, difference: RowDifference) -> None:
        """Counts one."""
        self.counts[difference.kind] += difference.copies
        if self.kept[difference.kind] < self.sample:
            self.kept[difference.kind] += 1
            self.samples.append(difference)


def _differences(
    sides: Sides, table: ComparedTable, before: TableFingerprint, after: TableFingerprint
) -> Iterator[RowDifference]:
    """Of the ranges that differ; of the whole table where its ranges cannot be read one by one."""
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
    moment = sides.backup.taken_at.timestamp()
    streams = [_hashes(sides.restored, table, within, 0), _hashes(sides.live, table, within, 1)]
    for _, members in groupby(merge(*streams, key=lambda row: row.place), key=lambda row: row.place):
        yield from _told_apart(table, list(members), moment)


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


def _told_apart(table: ComparedTable, rows: Iterable[_Hashed], moment: float) -> Iterator[RowDifference]:
    """The differences among the rows of one place: nearly always one key, twice if two keys have the same hash."""
    by_key: dict[Key, tuple[list[_Hashed], list[_Hashed]]] = {}
    for row in rows:
        by_key.setdefault(row.key, ([], []))[row.side].append(row)
    for key, (backed_up, live) in by_key.items():
        surplus = len(live) - len(backed_up)
        if surplus:
            kind: Kind = "added" if surplus > 0 else "missing"
            yield RowDifference(table.label, kind, key, live[0].hash if live else None, abs(surplus))
        elif backed_up[0].hash != live[0].hash:
            yield RowDifference(table.label, _kind(table, backed_up[0], live[0], moment), key, live[0].hash)


def _kind(table: ComparedTable, backed_up: _Hashed, live: _Hashed, moment: float) -> Kind:
    """Later than in the backup counts, not only later than it: a transaction that was open then has stamped its begin."""
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
