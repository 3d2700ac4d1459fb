"""Gives rows that something altered the values of the backup back, and nothing else, while users go on writing.

First the rows as they are go to a file. Then they are repaired in small batches: each row is locked and looked at again
under the lock, and one that a user has written meanwhile stays as the user wrote it. Rows that users hold are passed over
and waited for at the end, one by one. Missing rows come back only when that is asked for. Killed anywhere, a second run
compares anew and completes it.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from knowledge_migration.engine.backfill.batch import TRANSIENT_ERRORS, reason_of
from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.backfill.runner import translate_db_errors
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rollback.repair.backup_copy import Progress, RestoredBackup, both_sides, restored_backup
from knowledge_migration.engine.rollback.repair.compared_tables import ComparedTable
from knowledge_migration.engine.rollback.repair.comparison import Comparison, Key, Kind, OnRows, compare
from knowledge_migration.engine.rollback.repair.refused_rows import RefusedRow, Waiting, one_by_one
from knowledge_migration.engine.rollback.repair.row_values import REFUSALS, Lock, Row, rows_by_key, write
from knowledge_migration.engine.rollback.repair.saved_rows import SavedRow, new_path, saved_batches, saving
from knowledge_migration.knowledge.audit import AuditAction

WORK = "repairing rows from the backup"
SUBJECT = "repair from the backup"


@dataclass(frozen=True)
class Repair:
    """What was done, per table: rows repaired and brought back, rows that users wrote meanwhile, rows that were refused."""

    file: Path | None
    repaired: Mapping[str, int]
    brought_back: Mapping[str, int]
    left_to_users: Mapping[str, int]
    refused: tuple[RefusedRow, ...]
    seconds: float

    @property
    def changed(self) -> int:
        """How many rows were written."""
        return sum(self.repaired.values()) + sum(self.brought_back.values())

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "file": str(self.file) if self.file else None,
            "repaired": dict(self.repaired),
            "brought_back": dict(self.brought_back),
            "left_to_users": dict(self.left_to_users),
            "refused": [{"table": one.table, "key": list(one.key), "reason": one.reason} for one in self.refused],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class RepairRun:
    """The comparison before, what was done about it, and the comparison after; the same one where nothing was to do."""

    before: Comparison
    repair: Repair
    after: Comparison


@dataclass(frozen=True)
class RepairOptions:
    """How a repair goes about it: what it waits for how long, where the rows are saved, whether missing rows come back."""

    directory: Path
    limits: Limits = field(default_factory=Limits)
    restore_missing: bool = False
    sample: int = 20


def repair_from_backup(
    database: Database,
    options: RepairOptions,
    *,
    scratch: Database,
    reason: str,
    tools_dir: Path | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
    on_repaired: OnRows | None = None,
) -> RepairRun:
    """Compares with the latest verified backup, repairs what differs, and compares again where anything was repaired.

    Audited when it begins and when it is done. Raises `BusyError` beside another repair, `BlockedError` when a user never
    lets go of a row (all others are repaired then), `VerificationError` when a trigger alters what is written.
    """
    who = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
    with (
        translate_db_errors(database, "the repair from the backup", again="it"),
        database.connect("repair", settings=_session(options.limits)) as connection,
        advisory_lock(connection, WORK),
        restored_backup(database, scratch=scratch, tools_dir=tools_dir, progress=progress) as restored,
    ):
        path = new_path(options.directory, "rows_before_repair", database.name)
        kinds: list[Kind] = ["altered", "missing"] if options.restore_missing else ["altered"]
        with both_sides(database, restored) as sides, saving(path, sides.live, kinds) as saver:
            before = compare(sides, restored, sample=options.sample, on_difference=saver.add, on_rows=on_rows)
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
        repair = _Work(connection, restored, sides.tables, options, path, on_repaired).whole()
        with both_sides(database, restored) as sides:
            after = compare(sides, restored, sample=options.sample, on_rows=on_rows)
        done = {**repair.to_evidence(), "left": after.counts}
        audit.record(
            connection, AuditAction.REPAIR_FROM_BACKUP, "legacy tables", before=before.counts, after=done, **who
        )
    return RepairRun(before, repair, after)


def _session(limits: Limits) -> dict[str, str]:
    return {"lock_timeout": str(limits.lock_timeout_ms), "statement_timeout": str(limits.statement_timeout_ms)}


@dataclass
class _Work:
    """The repair of the rows in the file; it has state (what is done, what has to wait), so it is a class."""

    connection: Connection
    restored: RestoredBackup
    tables: Sequence[ComparedTable]
    options: RepairOptions
    file: Path
    on_repaired: OnRows | None
    done: dict[Kind, Counter[str]] = field(default_factory=lambda: {"altered": Counter(), "missing": Counter()})
    left_to_users: Counter[str] = field(default_factory=Counter)
    later: Waiting = field(default_factory=list)
    blocked: BlockedError | None = None

    def whole(self) -> Repair:
        """Every batch of the file, then row by row those that were held or refused, as long as that helps."""
        started = time.perf_counter()
        by_label = {table.label: table for table in self.tables}
        for label, _, rows in saved_batches(self.file, self.options.limits.batch_size):
            self._batch(by_label[label], rows)
        refused = one_by_one(self.later, self._patiently)
        if self.blocked:
            raise self.blocked
        counts = (+self.done["altered"], +self.done["missing"], +self.left_to_users)  # without the zeros
        return Repair(self.file, *counts, tuple(refused), time.perf_counter() - started)

    def _batch(self, table: ComparedTable, rows: list[SavedRow]) -> None:
        """One transaction, past the rows that users hold; where one row cannot be written, all of them wait."""
        try:
            self._write(table, rows, "skip")
        except (*REFUSALS, *TRANSIENT_ERRORS):
            self.later += [(table, row) for row in rows]

    def _patiently(self, table: ComparedTable, row: SavedRow) -> str | None:
        """Tries again with growing pauses while a user holds the row; returns why the database refuses it, if it does."""
        limits = self.options.limits
        for attempt in range(limits.retry_attempts):
            try:
                self._write(table, [row], "wait")
                return None
            except REFUSALS as error:
                return reason_of(error)
            except TRANSIENT_ERRORS as error:
                cause = error
            limits.sleep(min(0.1 * 2**attempt, 5.0))
        self.blocked = self.blocked or _blocked(table, row, limits, cause)
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
        """Rows updated, rows that are not as they were saved, rows that somebody holds."""
        now = rows_by_key(self.connection, table, [row.key for row in rows], lock)
        held = [row for row in rows if row.key not in now] if lock == "skip" else []
        same = [row.key for row in rows if row.key in now and now[row.key].hash == row.live_hash]
        write(self.connection, table, "update", self._backed_up(table, same))
        return len(same), len(rows) - len(same) - len(held), held

    def _bring_back(self, table: ComparedTable, rows: list[SavedRow], lock: Lock) -> tuple[int, int, list[SavedRow]]:
        """Rows inserted, rows whose key somebody has used meanwhile, and none."""
        there = rows_by_key(self.connection, table, [row.key for row in rows]) if table.key else {}
        gone = {row.key: row.copies for row in rows if row.key not in there}
        values = self._backed_up(table, list(gone))
        for copy in range(max(gone.values(), default=0)):
            write(self.connection, table, "insert", {key: row for key, row in values.items() if gone[key] > copy})
        return sum(gone.values()), len(rows) - len(gone), []

    def _backed_up(self, table: ComparedTable, keys: list[Key]) -> dict[Key, Row]:
        with self.restored.connection.transaction():
            self.restored.connection.execute(statement("restore/exact_texts"))
            return rows_by_key(self.restored.connection, table, keys)


def _blocked(table: ComparedTable, row: SavedRow, limits: Limits, cause: psycopg.Error) -> BlockedError:
    error = BlockedError(
        f"The repair of {table.label} was stopped {limits.retry_attempts} times at row {', '.join(row.key)}, last by "
        f"{cause.sqlstate} {reason_of(cause)}. A user's transaction holds it: end that transaction or wait, then run this "
        "again; all other rows are repaired and stay so."
    )
    error.__cause__ = cause
    return error
