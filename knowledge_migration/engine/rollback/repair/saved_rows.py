"""Rows as they are before a repair or a restore, in a file of JSON lines, so that no value is lost.

Each line has the table, the kind of difference, the key, the hash, and the values as PostgreSQL writes them as text (null for
NULL). The file is complete or does not exist; mode 0600. It is also the work list, so millions of rows need no memory.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TextIO

from knowledge_migration.engine.foundation.atomic_file import written_whole
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.rollback.repair.comparison import DifferenceKind, RowDifference
from knowledge_migration.engine.rollback.repair.tables import ComparedTable, Key, rows_by_key

ROWS_PER_FETCH = 100


@dataclass(frozen=True)
class SavedRow:
    """One line of the file, without its values: a repair needs the key and the hash."""

    table: str
    kind: DifferenceKind
    key: Key
    live_hash: int | None
    copies: int


Waiting = list[tuple[ComparedTable, SavedRow]]


@dataclass(frozen=True)
class RefusedRow:
    """A row that the database refuses, with its message: another row has its unique value, or its parent is missing."""

    table: str
    key: Key
    reason: str

    def as_json(self) -> dict[str, object]:
        """For evidence."""
        return {"table": self.table, "key": list(self.key), "reason": self.reason}


def write_one_by_one(waiting: Waiting, write: Callable[[ComparedTable, SavedRow], str | None]) -> list[RefusedRow]:
    """Writes each row that could not be written in a batch; returns those that stay refused.

    `write` returns the reason, or None when the row is written. A row may be refused until its parent is back, or until
    another row has given up its unique value, so it is repeated as long as that writes rows.
    """
    while waiting:
        refused = [(table, row, reason) for table, row in waiting if (reason := write(table, row))]
        if len(refused) == len(waiting):
            return [RefusedRow(table.label, row.key, reason) for table, row, reason in refused]
        waiting = [(table, row) for table, row, _ in refused]
    return []


def new_path(directory: Path, what: str, database: str) -> Path:
    """A new file name in the directory, which is created with mode 0700. Raises `MigrationError`."""
    readable = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in database)[:100]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MigrationError(
            f"Cannot write to {directory}: {error.strerror}. Make it writable, or set KNOWLEDGE_MIGRATION_HOME to another. "
            "Nothing was changed."
        ) from error
    return directory / f"{what}_{readable}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{secrets.token_hex(3)}.jsonl"


@dataclass
class Saver:
    """Writes differences of some kinds to the file; it has state, because it collects rows to read them together."""

    live: Connection
    file: TextIO
    kinds: frozenset[DifferenceKind]
    rows: int = 0
    _table: ComparedTable | None = None
    _waiting: list[RowDifference] = field(default_factory=list)

    def add(self, table: ComparedTable, difference: RowDifference) -> None:
        """Takes one difference, in the order of the comparison."""
        if difference.kind not in self.kinds:
            return
        if self._table is not table or len(self._waiting) >= ROWS_PER_FETCH:
            self.flush()
        self._table = table
        self._waiting.append(difference)

    def flush(self) -> None:
        """Writes the collected rows."""
        if self._table is None:
            return
        present = [one.key for one in self._waiting if one.live_hash is not None]
        rows = rows_by_key(self.live, self._table, present)
        names = [hashed.column.name for hashed in self._table.columns]
        for one in self._waiting:
            row = rows.get(one.key)
            values = dict(zip(names, row.values, strict=True)) if row else None
            line = {"table": one.table, "kind": one.kind, "key": one.key, "copies": one.copies}
            self.file.write(json.dumps({**line, "hash": one.live_hash, "row": values}, ensure_ascii=False) + "\n")
            self.rows += one.copies
        self._waiting = []


@contextmanager
def saving(path: Path, live: Connection, kinds: Sequence[DifferenceKind]) -> Iterator[Saver]:
    """A file for the differences of these kinds; it exists, complete, once the block has ended without an error."""
    try:
        with written_whole(path) as file:
            saver = Saver(live, file, frozenset(kinds))
            yield saver
            saver.flush()
    except OSError as error:
        raise MigrationError(
            f"The rows could not be saved to {path}: {error}. Nothing was changed in the database."
        ) from error


def saved_batches(path: Path, size: int) -> Iterator[tuple[str, DifferenceKind, list[SavedRow]]]:
    """The lines of the file in batches of one table and kind each, in the order of the file."""
    with path.open(encoding="utf-8") as file:
        for table, rows in groupby((_read(line) for line in file), key=lambda row: row.table):
            waiting: dict[DifferenceKind, list[SavedRow]] = {}
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
