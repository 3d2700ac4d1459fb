"""Restores the whole database from the verified backup, with applications stopped: the confirmed last resort (§8.2, ERRATA B3).

Restores beside the database, carries over rows that users wrote since, then exchanges the names. Rows that differ are saved to a
file first, and the old database is kept. Killed before the exchange, nothing has changed; the next run drops the copy.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from knowledge_migration.engine.backup.dump import tools_of
from knowledge_migration.engine.backup.location import local_copy
from knowledge_migration.engine.backup.pg_tools import restore_everything
from knowledge_migration.engine.backup.scratch import UNHURRIED, Purpose, Scratch, origin_of, scratch_database
from knowledge_migration.engine.cleanup.completeness import states
from knowledge_migration.engine.foundation import audit, evidence, inventory
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError, VerificationError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.inventory import Inventory
from knowledge_migration.engine.foundation.own_objects import OWN_SCHEMA, OWN_TABLES
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.rollback.database_swap import (
    copy_properties,
    kept_name,
    other_sessions,
    refuse_sessions,
    refuse_without_rights,
    swap,
)
from knowledge_migration.engine.rollback.repair.backup_copy import (
    LatestBackup,
    Progress,
    RestoredBackup,
    Sides,
    proven_backup,
    refuse_failure,
    sides_of,
)
from knowledge_migration.engine.rollback.repair.comparison import (
    KEPT,
    Comparison,
    DifferenceKind,
    OnRows,
    RowDifference,
    compare,
)
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
    refuse_new_columns,
    rows_by_key,
    write,
)
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.tables import ORIGIN_CONSTRAINTS

if TYPE_CHECKING:
    from knowledge_migration.engine.backup.location import Location

ACTION = "restore of the whole database"
EVIDENCE = "database_restore"
MAINTENANCE_DATABASE = "postgres"
BATCH_ROWS = 200
ENABLED: Mapping[str, LiteralString] = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}
RESTORED = Purpose(
    "knowledge_migration_restore_",
    "the new database that the backup is restored into",
    "run this as a user who may, on a server with space",
)


@dataclass(frozen=True)
class DatabaseRestorePlan:
    """The backup, the name under which the present database would be kept, and the sessions in the way."""

    backup: LatestBackup
    keep_as: str
    sessions: tuple[str, ...]


@dataclass(frozen=True)
class DatabaseRestore:
    """Per table: rows carried over, deleted rows that are back, altered rows with the backup's values again; refused rows."""

    database: str
    kept_as: str
    backup: "Location"
    file: Path | None
    carried: Mapping[str, int]
    brought_back: Mapping[str, int]
    restored: Mapping[str, int]
    not_carried: tuple[RefusedRow, ...]
    sequences: int
    seconds: float

    @property
    def sentence(self) -> str:
        """The result as a sentence."""
        return (
            f"{self.database} is the backup {self.backup.name} with {sum(self.carried.values()):,} rows that users wrote since. "
            f"{sum(self.restored.values()):,} altered rows have the backup's values again, {sum(self.brought_back.values()):,} "
            f"deleted rows are back, {len(self.not_carried):,} rows were refused. The old database is kept as {self.kept_as}: "
            "only it has the proposals, flags and audit entries since the backup."
        )

    def to_evidence(self) -> dict[str, Any]:
        """The restore as JSON."""
        return {
            **vars(self),
            "backup": str(self.backup),
            "file": str(self.file) if self.file else None,
            "not_carried": [row.as_json() for row in self.not_carried],
            "seconds": round(self.seconds, 3),
        }


def plan_database_restore(database: Database) -> DatabaseRestorePlan:
    """Reads only; raises `MigrationError` without a valid backup or without the rights."""
    with database.connect("restore plan") as live:
        backup = proven_backup(live)
    with database.sibling(MAINTENANCE_DATABASE).connect("restore plan") as admin:
        refuse_without_rights(admin, database.name)
        return DatabaseRestorePlan(backup, kept_name(database.name), tuple(other_sessions(admin, database.name)))


def restore_database(
    database: Database,
    *,
    confirm: str,
    directory: Path,
    reason: str,
    tools_dir: Path | None = None,
    actor: str | None = None,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
) -> DatabaseRestore:
    """Restores the latest verified backup in place of the database; `confirm` must be its name (strategy §8.2, ERRATA B3).

    Raises `PreconditionError` unless confirmed, without a backup or a right, `BlockedError` naming connected sessions,
    `VerificationError` when the file was altered or the two cannot be compared, `MigrationError` when it cannot be restored.
    Nothing has changed then.
    """
    if confirm != database.name:
        raise PreconditionError(
            f"This would restore the whole database {database.name}; {confirm!r} is not its name. Give the exact name (--confirm "
            f"{database.name}). Nothing was changed."
        )
    started = time.perf_counter()
    server = database.sibling(MAINTENANCE_DATABASE)
    with (
        _translated(database),
        server.connect("restore", settings=UNHURRIED) as admin,
        advisory_lock(admin, f"restoring {database.name}"),
    ):
        refuse_without_rights(admin, database.name)
        refuse_sessions(admin, database.name)
        with database.connect("restore", settings=UNHURRIED) as live:
            backup = proven_backup(live)
            audit.record(
                live,
                AuditAction.RESTORE_DATABASE_BEGUN,
                database.name,
                reason=reason,
                actor=actor,
                after={"backup": str(backup.path)},
            )
            with scratch_database(server, origin_of(live), progress, RESTORED) as target:
                work = _Work(database, server, admin, live, target, backup, directory, started, progress, on_rows)
                work.restore(tools_dir)
                work.carry_over()
                return work.exchange(reason, actor)


@contextmanager
def _translated(database: Database) -> Iterator[None]:
    """Raises `MigrationError` for an error of the server: nothing has changed."""
    try:
        yield
    except psycopg.Error as error:
        raise MigrationError(
            f"The server stopped the {ACTION} {database.display}: {reason_of(error)}. Nothing was changed: the database has "
            "its name and its rows, and the restored copy is dropped, by the next run at the latest. Correct the cause, then run "
            "it again."
        ) from error


@dataclass
class _Work:
    """The restore in three parts; it has state: the saved file, the counts, the rows that wait."""

    database: Database
    server: Database
    admin: Connection
    live: Connection
    target: Scratch
    backup: LatestBackup
    directory: Path
    started: float
    progress: Progress
    on_rows: OnRows | None
    file: Path | None = None
    before: Comparison | None = None
    tables: Sequence[ComparedTable] = ()
    carried: Counter[str] = field(default_factory=Counter)
    later: Waiting = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    sequences: int = 0

    @property
    def new(self) -> Connection:
        """The session in the restored database."""
        return self.target.connection

    def restore(self, tools_dir: Path | None) -> None:
        """Restores the whole dump into the new database."""
        self.progress(f"restoring {self.backup.path.name} into {self.target.database.name}")

        def wait() -> None:
            self.progress(f"pg_restore: {time.perf_counter() - self.started:.0f} s so far")

        tools = tools_of(self.live, tools_dir)
        with local_copy(self.backup.path, self.backup.sha256) as dump:
            outcome = restore_everything(dump, self.target.database, tools, on_wait=wait)
        refuse_failure(outcome, self.backup.path, self.target.database)
        self.new.execute(text_of("restore/analyze"))

    def carry_over(self) -> None:
        """Locks the tables, compares, saves rows written since, writes them to the new database, and compares again."""
        refuse_sessions(self.admin, self.database.name, (self.live.info.backend_pid,))
        tables = _every_table(self.new)
        self.live.execute("BEGIN")  # until the session ends: nobody may write between here and the new names
        with self.new.transaction():
            sides = self._sides(tables)
            names = sql.SQL(", ").join(table.name for table in sides.tables)
            self.live.execute(statement("restore/lock_tables", tables=names))
            refuse_new_columns(self.live, sides.tables, _every_table(self.live).tables)
            self._save(sides)
        self._allow_rows_without_proposal()
        with _without_triggers(self.new):
            self._carry()
        self.sequences = advance_sequences(self.live, self.new)
        with self.new.transaction():
            self._refuse_differences(self._sides(tables))

    def exchange(self, reason: str, actor: str | None) -> DatabaseRestore:
        """Records the restore in the new database, and exchanges the names."""
        keep_as = kept_name(self.database.name)
        copy_properties(self.admin, self.database.name, self.target.database.name)
        done = self._result(keep_as)
        if exists(self.new, "migration.audit_log"):
            audit.record(
                self.new,
                AuditAction.RESTORE_DATABASE,
                self.database.name,
                reason=reason,
                actor=actor,
                after=done.to_evidence(),
            )
            known = evidence.require(self.live, "verified_backup", made_by="asset verified_backup")
            evidence.record(self.new, "verified_backup", known.content)
            evidence.record(self.new, EVIDENCE, done.to_evidence())
        swap(self.server, self.live, self.new, keep_as=keep_as)
        return self._result(keep_as)

    def _restored(self) -> RestoredBackup:
        return RestoredBackup(self.backup, self.target.database, self.new, time.perf_counter() - self.started)

    def _sides(self, tables: Inventory) -> Sides:
        sides = sides_of(self.live, self._restored(), tables)
        self.tables = sides.tables
        return sides

    def _save(self, sides: Sides) -> None:
        path = new_path(self.directory, "rows_before_restore", self.database.name)
        with saving(path, self.live, (*KEPT, "altered")) as saver:
            self.before = compare(sides, on_difference=saver.add, on_rows=self.on_rows)
        if not saver.rows:
            path.unlink()
            return
        self.file = path
        self.progress(f"{saver.rows:,} rows that differ from the backup are saved in {path}")

    def _allow_rows_without_proposal(self) -> None:
        """The rows that users wrote since a backup of phase 5 have no proposal in it."""
        for table, state in states(self.new).items():
            if state != "missing":
                names = {"table": f"public.{table}", "constraint": ORIGIN_CONSTRAINTS[table]}
                self.new.execute(statement("cleanup/origin_optional", **names))
                self.progress(
                    f"the rule that every row of {table} comes from a proposal is dropped: newer rows have none"
                )

    def _carry(self) -> None:
        if self.file is None:
            return
        by_label = {table.label: table for table in self.tables}
        for label, kind, rows in saved_batches(self.file, BATCH_ROWS):
            if kind in KEPT:
                self._batch(by_label[label], rows)
        self.refused = write_one_by_one(self.later, self._single)

    def _batch(self, table: ComparedTable, rows: list[SavedRow]) -> None:
        try:
            self._write(table, rows)
        except REFUSALS:
            self.later += [(table, row) for row in rows]

    def _single(self, table: ComparedTable, row: SavedRow) -> str | None:
        try:
            self._write(table, [row])
        except REFUSALS as error:
            return reason_of(error)
        return None

    def _write(self, table: ComparedTable, rows: list[SavedRow]) -> None:
        """One batch of one kind in one transaction."""
        values = rows_by_key(self.live, table, [row.key for row in rows])
        copies = {row.key: row.copies for row in rows}
        with self.new.transaction():
            self.new.execute(statement("restore/exact_texts"))
            if rows[0].kind != "added":
                write(self.new, table, "update", values)
            else:
                for copy in range(max(copies.values())):
                    write(self.new, table, "insert", {key: row for key, row in values.items() if copies[key] > copy})
        self.carried[table.label] += sum(copies.values())

    def _refuse_differences(self, sides: Sides) -> None:
        """Every row that users wrote must be in the new database, except for refused ones."""
        refused = {(one.table, one.key) for one in self.refused}
        wrong: Counter[str] = Counter()

        def count(table: ComparedTable, difference: RowDifference) -> None:
            wrong[table.label] += difference.kind in KEPT and (table.label, difference.key) not in refused

        compare(sides, on_difference=count)
        if +wrong:
            raise VerificationError(
                f"Rows in the restored database are not as they were written: {dict(+wrong)}. A trigger changes them. Nothing "
                f"was changed; the rows are in {self.file}."
            )

    def _result(self, keep_as: str) -> DatabaseRestore:
        return DatabaseRestore(
            database=self.database.name,
            kept_as=keep_as,
            backup=self.backup.path,
            file=self.file,
            carried=dict(+self.carried),
            brought_back=_counts(self.before, "missing"),
            restored=_counts(self.before, "altered"),
            not_carried=tuple(self.refused),
            sequences=self.sequences,
            seconds=time.perf_counter() - self.started,
        )


@contextmanager
def _without_triggers(new: Connection) -> Iterator[None]:
    """No trigger fires in the restored database: rows that one has written in the live database are carried over themselves."""
    triggers = new.execute(statement("restore/enabled_triggers"), {"own_schema": OWN_SCHEMA}).fetchall()
    _set_triggers(new, triggers, dict.fromkeys(ENABLED, "DISABLE"))
    yield
    _set_triggers(new, triggers, ENABLED)


def _set_triggers(new: Connection, triggers: Sequence[Mapping[str, Any]], states: Mapping[str, LiteralString]) -> None:
    for row in triggers:
        table, name = sql.Identifier(row["schema"], row["table"]), sql.Identifier(row["name"])
        new.execute(statement("restore/set_trigger", table=table, trigger=name, state=sql.SQL(states[row["state"]])))


def _counts(comparison: Comparison | None, kind: DifferenceKind) -> dict[str, int]:
    tables = comparison.tables if comparison else ()
    return {table.table: count for table in tables if (count := table.counts.get(kind, 0))}


def _every_table(connection: Connection) -> Inventory:
    """All tables of the application in the restored database, parents first."""
    own = {"own_schema": OWN_SCHEMA, "own_tables": list(OWN_TABLES)}
    return inventory.read(
        connection, [row["name"] for row in connection.execute(statement("restore/every_table"), own)]
    )


def advance_sequences(live: Connection, new: Connection) -> int:
    """Advances each sequence to its value in the live database; returns how many were behind."""
    advanced = 0
    for row in live.execute(statement("restore/sequences"), {"own_schema": OWN_SCHEMA}).fetchall():
        identifier = sql.Identifier(row["schema"], row["name"])
        name = identifier.as_string(new)
        if exists(new, name):
            query = statement("restore/advance_sequence", sequence=identifier, sequence_name=sql.Literal(name))
            parameters = {"last": row["last_value"], "increment": row["increment_by"]}
            advanced += new.execute(query, parameters).rowcount
    return advanced
