"""Rows as they are before something is done to them, in a file of JSON lines: what is lost is never lost for good.

Each line names the table, what the row is to the backup, its key, the hash of its values, and its values as PostgreSQL
writes them as text (null for NULL), so that every digit and blank comes back. Complete or not there; mode 0600. It is also
the list of what is to be done, so that millions of rows need no memory.
"""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TextIO

from knowledge_migration.engine.foundation.atomic_file import written_whole
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.rollback.repair.compared_tables import ComparedTable
from knowledge_migration.engine.rollback.repair.comparison import Key, Kind, RowDifference
from knowledge_migration.engine.rollback.repair.row_values import rows_by_key

ROWS_PER_FETCH = 100


@dataclass(frozen=True)
class SavedRow:
    """One line of the file, without its values: the rest of the work needs the key and the hash."""

    table: str
    kind: Kind
    key: Key
    live_hash: int | None
    copies: int


def new_path(directory: Path, what: str, database: str) -> Path:
    """A file name that nobody has, in the directory, which is made with mode 0700. Raises `MigrationError`."""
    readable = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in database)[:100]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MigrationError(
            f"Cannot write to {directory}: {error.strerror}. Make it writable, or point KNOWLEDGE_MIGRATION_HOME elsewhere. "
            "Nothing was changed."
        ) from error
    return directory / f"{what}_{readable}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{secrets.token_hex(3)}.jsonl"


@dataclass
class Saver:
    """Writes differences of the wanted kinds to the file; it gathers rows to read them together, so it is a class."""

    live: Connection
    file: TextIO
    kinds: frozenset[Kind]
    rows: int = 0
    _table: ComparedTable | None = None
    _waiting: list[RowDifference] = field(default_factory=list)

    def add(self, table: ComparedTable, difference: RowDifference) -> None:
        """Takes one difference, in the order in which the comparison finds them."""
        if difference.kind not in self.kinds:
            return
        if self._table is not table or len(self._waiting) >= ROWS_PER_FETCH:
            self.flush()
        self._table = table
        self._waiting.append(difference)

    def flush(self) -> None:
        """Writes what is waiting."""
        if self._table is None:
            return
        there = [one.key for one in self._waiting if one.live_hash is not None]
        rows = rows_by_key(self.live, self._table, there)
        names = [hashed.column.name for hashed in self._table.columns]
        for one in self._waiting:
            row = rows.get(one.key)
            values = dict(zip(names, row.values, strict=True)) if row else None
            line = {"table": one.table, "kind": one.kind, "key": one.key, "copies": one.copies}
            self.file.write(json.dumps({**line, "hash": one.live_hash, "row": values}, ensure_ascii=False) + "\n")
            self.rows += one.copies
        self._waiting = []


@contextmanager
def saving(path: Path, live: Connection, kinds: Sequence[Kind]) -> Iterator[Saver]:
    """A file for the differences of these kinds; it is there, whole, when the block has ended without an error."""
    try:
        with written_whole(path) as file:
            saver = Saver(live, file, frozenset(kinds))
            yield saver
            saver.flush()
    except OSError as error:
        raise MigrationError(
            f"The rows could not be saved to {path}: {error}. Nothing was changed in the database."
        ) from error


def saved_batches(path: Path, size: int) -> Iterator[tuple[str, Kind, list[SavedRow]]]:
    """The lines of the file in batches of one table and kind each; the tables in the order in which they were written."""
    with path.open(encoding="utf-8") as file:
        for table, rows in groupby((_read(line) for line in file), key=lambda row: row.table):
            waiting: dict[Kind, list[SavedRow]] = {}
            for row in rows:
                batch = waiting.setdefault(row.kind, [])
                batch.append(row)
                if len(batch) >= size:
                    yield table, row.kind, waiting.pop(row.kind)
            for kind, batch in waiting.items():
                yield table, kind, batch


def _read(line: str) -> SavedRow:
    row = json.loads(line)
    return SavedRow(row["table"], row["kind"], tuple(row["key"]), row["hash"], row["copies"])
