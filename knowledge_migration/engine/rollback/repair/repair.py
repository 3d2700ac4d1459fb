"""Restores the backup's values of rows that something altered, and nothing else, while users continue to write.

Each row is saved to a file first, then locked and compared again: a row that a user has written meanwhile stays. Missing rows are
inserted only on request. A second run compares again and completes a killed one.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from knowledge_migration.engine.backfill.batch import TRANSIENT_ERRORS
from knowledge_migration.engine.backfill.runner import translate_db_errors
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rollback.repair.backup_copy import Progress, RestoredBackup, both_sides, restored_backup
from knowledge_migration.engine.rollback.repair.comparison import Comparison, DifferenceKind, OnRows, compare
from knowledge_migration.engine.rollback.repair.saved_rows import (
    RefusedRow,
    SavedRow,
    Waiting,
    new_path,
    saved_batches,
    saving,
    write_one_by_one,
)
from knowledge_migration.engine.rollback.repair.tables import (
    REFUSALS,
    ComparedTable,
    Key,
    Lock,
    Row,
    rows_by_key,
    write,
)
from knowledge_migration.engine.rollback.unlinking import retried, session_settings
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import BackfillSettings

WORK = "repairing rows from the backup"


@dataclass(frozen=True)
class Repair:
    """Per table: rows repaired, rows inserted again, rows that users wrote meanwhile; and the rows that were refused."""

    file: Path | None
    repaired: Mapping[str, int]
    brought_back: Mapping[str, int]
    left_to_users: Mapping[str, int]
    refused: tuple[RefusedRow, ...]
    seconds: float

    @property
    def changed(self) -> int:
        """The number of rows written."""
        return sum(self.repaired.values()) + sum(self.brought_back.values())

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            **vars(self),
            "file": str(self.file) if self.file else None,
            "refused": [row.as_json() for row in self.refused],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class RepairRun:
    """The comparison before, the repair, and the comparison after (the same one where nothing was repaired)."""

    before: Comparison
    repair: Repair
    after: Comparison


def compare_with_backup(
    database: Database,
    *,
    scratch: Database,
    tools_dir: Path | None = None,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
) -> Comparison:
    """The legacy tables against the latest verified backup, which it restores for that; changes nothing."""
    with (
        translate_db_errors(database, "the comparison with the backup", again="it"),
        restored_backup(database, scratch=scratch, tools_dir=tools_dir, progress=progress) as restored,
        both_sides(database, restored) as sides,
    ):
        return compare(sides, on_rows=on_rows)


def repair_from_backup(
    database: Database,
    directory: Path,
    limits: BackfillSettings,
    *,
    scratch: Database,
    restore_missing: bool = False,
    reason: str,
    tools_dir: Path | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
    on_repaired: OnRows | None = None,
) -> RepairRun:
    """Compares with the latest verified backup, repairs altered rows, and compares again where anything was repaired.

    `directory` gets the file of the saved rows; `restore_missing` also inserts missing rows again.
    Audited when it begins and ends. Raises `BusyError` during another repair, `BlockedError` when a user does not release
    a row (all others are repaired then), `VerificationError` when a trigger changes the written values.
    """
    who = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
    with (
        translate_db_errors(database, "the repair from the backup", again="it"),
        database.connect("repair", settings=session_settings(limits)) as connection,
        advisory_lock(connection, WORK),
        restored_backup(database, scratch=scratch, tools_dir=tools_dir, progress=progress) as restored,
    ):
        path = new_path(directory, "rows_before_repair", database.name)
        kinds: list[DifferenceKind] = ["altered", "missing"] if restore_missing else ["altered"]
        with both_sides(database, restored) as sides, saving(path, sides.live, kinds) as saver:
            before = compare(sides, on_difference=saver.add, on_rows=on_rows)
        if not saver.rows:
            path.unlink()
            return RepairRun(before, Repair(None, {}, {}, {}, (), 0.0), before)
        progress(f"{saver.rows:,} rows that differ are saved as they are in {path}")
        audit.record(
            connection,
            AuditAction.REPAIR_FROM_BACKUP_BEGUN,
            "legacy tables",
            before=before.counts,
            after={"file": str(path)},
            **who,
        )
        repair = _Work(connection, restored, sides.tables, limits, path, on_repaired).whole()
        with both_sides(database, restored) as sides:
            after = compare(sides, on_rows=on_rows)
        done = {**repair.to_evidence(), "left": after.counts}
        audit.record(
            connection, AuditAction.REPAIR_FROM_BACKUP, "legacy tables", before=before.counts, after=done, **who
        )
    return RepairRun(before, repair, after)


@dataclass
class _Work:
    """The repair of the rows in the file; it has state: counts, rows that wait, the first row that stayed blocked."""

    connection: Connection
    restored: RestoredBackup
    tables: Sequence[ComparedTable]
    limits: BackfillSettings
    file: Path
    on_repaired: OnRows | None
    done: dict[DifferenceKind, Counter[str]] = field(
        default_factory=lambda: {"altered": Counter(), "missing": Counter()}
    )
    left_to_users: Counter[str] = field(default_factory=Counter)
    later: Waiting = field(default_factory=list)
    blocked: BlockedError | None = None

    def whole(self) -> Repair:
        """Every batch of the file, then row by row those that were held or refused."""
        started = time.perf_counter()
        by_label = {table.label: table for table in self.tables}
        for label, _, rows in saved_batches(self.file, self.limits.batch_size):
            self._batch(by_label[label], rows)
        refused = write_one_by_one(self.later, self._single)
        if self.blocked:
            raise self.blocked
        counts = (+self.done["altered"], +self.done["missing"], +self.left_to_users)  # without the zeros
        return Repair(self.file, *counts, tuple(refused), time.perf_counter() - started)

    def _batch(self, table: ComparedTable, rows: list[SavedRow]) -> None:
        """One transaction that skips rows that users hold; where one row cannot be written, all of them wait."""
        try:
            self._write(table, rows, "skip")
        except (*REFUSALS, *TRANSIENT_ERRORS):
            self.later += [(table, row) for row in rows]

    def _single(self, table: ComparedTable, row: SavedRow) -> str | None:
        """One row, waiting while a user holds it; returns why the database refuses it, if it does."""
        limits = self.limits

        def blocked(cause: psycopg.Error) -> str:
            return (
                f"The repair of {table.label} was stopped {limits.retry_attempts} times at row {', '.join(row.key)}, last by "
                f"{cause.sqlstate} {reason_of(cause)}. A user's transaction holds it: end that transaction or wait, then run "
                "this again; all other rows are repaired and stay so."
            )

        try:
            retried(limits, lambda: self._write(table, [row], "wait"), blocked)
        except REFUSALS as error:
            return reason_of(error)
        except BlockedError as error:
            self.blocked = self.blocked or error
        return None

    def _write(self, table: ComparedTable, rows: list[SavedRow], lock: Lock) -> None:
        """One batch of one kind in one transaction; counts it when it is committed."""
        kind = rows[0].kind
        change = self._repair if kind == "altered" else self._bring_back
        with self.connection.transaction():
            self.connection.execute(statement("restore/exact_texts"))
            written, left, held = change(table, rows, lock)
        self.done[kind][table.label] += written
        self.left_to_users[table.label] += left
        self.later += [(table, row) for row in held]
        if self.on_repaired:
            self.on_repaired(table.label, written + left)

    def _repair(self, table: ComparedTable, rows: list[SavedRow], lock: Lock) -> tuple[int, int, list[SavedRow]]:
        """The number of rows updated and of rows that a user wrote meanwhile, and the rows that somebody holds."""
        now = rows_by_key(self.connection, table, [row.key for row in rows], lock)
        held = [row for row in rows if row.key not in now] if lock == "skip" else []
        same = [row.key for row in rows if row.key in now and now[row.key].hash == row.live_hash]
        write(self.connection, table, "update", self._backed_up(table, same))
        return len(same), len(rows) - len(same) - len(held), held

    def _bring_back(self, table: ComparedTable, rows: list[SavedRow], lock: Lock) -> tuple[int, int, list[SavedRow]]:
        """The number of rows inserted and of rows whose key somebody has used meanwhile; none is held."""
        present = rows_by_key(self.connection, table, [row.key for row in rows]) if table.key else {}
        gone = {row.key: row.copies for row in rows if row.key not in present}
        values = self._backed_up(table, list(gone))
        for copy in range(max(gone.values(), default=0)):
            write(self.connection, table, "insert", {key: row for key, row in values.items() if gone[key] > copy})
        return sum(gone.values()), len(rows) - len(gone), []

    def _backed_up(self, table: ComparedTable, keys: list[Key]) -> dict[Key, Row]:
        with self.restored.connection.transaction():
            self.restored.connection.execute(statement("restore/exact_texts"))
            return rows_by_key(self.restored.connection, table, keys)
