"""The latest verified backup, restored beside the live database, so that both can be read at once.

The file must be the one that was verified. It is restored into a scratch database, which is dropped at the end. The live side is
one snapshot: while it is open, vacuum keeps the old row versions.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge_migration.engine.backup import tool_failures
from knowledge_migration.engine.backup.dump import contents_of, tools_of
from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.backup.location import local_copy
from knowledge_migration.engine.backup.pg_tools import Outcome, restore_rows
from knowledge_migration.engine.backup.scratch import Purpose, origin_of, scratch_database
from knowledge_migration.engine.foundation import evidence, inventory
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.inventory import Inventory
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rollback.repair.tables import ComparedTable, described, refuse_changed_columns

if TYPE_CHECKING:
    from knowledge_migration.engine.backup.location import Location

Progress = Callable[[str], None]

COMPARISON = Purpose(
    "knowledge_migration_compare_",
    "the scratch database that the backup is compared in",
    "set KNOWLEDGE_MIGRATION_SCRATCH_URL to a server where it may",
)


@dataclass(frozen=True)
class LatestBackup:
    """The backup that the database is compared with: its file and the checksum of that, when it was taken, its rows per table."""

    path: "Location"
    sha256: str
    taken_at: datetime
    tables: Mapping[str, int]

    @property
    def rows(self) -> int:
        """The rows of all its compared tables."""
        return sum(self.tables.values())


@dataclass(frozen=True)
class RestoredBackup:
    """The backup as a database; it is dropped at the end of the block that restored it."""

    backup: LatestBackup
    database: Database
    connection: Connection
    seconds: float


@dataclass(frozen=True)
class Sides:
    """The two sides of a comparison, each in a transaction in which texts are exact, and the tables of both."""

    live: Connection
    restored: RestoredBackup
    inventory: Inventory
    tables: tuple[ComparedTable, ...]


def proven_backup(connection: Connection) -> LatestBackup:
    """The latest verified backup.

    Raises `PreconditionError` when there is none, `VerificationError` when its file was altered.
    """
    content = evidence.require(connection, "verified_backup", made_by="asset verified_backup").content
    path = verify_file(content)
    return LatestBackup(path, content["sha256"], datetime.fromisoformat(content["taken_at"]), dict(content["tables"]))


@contextmanager
def restored_backup(
    database: Database, *, scratch: Database, tools_dir: Path | None = None, progress: Progress
) -> Iterator[RestoredBackup]:
    """Restores the latest verified backup into a scratch database on the server of `scratch`; drops it at the end.

    Raises `PreconditionError` without a backup or without the right to make a database, `VerificationError` when the
    file was altered, `MigrationError` when it cannot be restored there; the live database is only read.
    """
    started = time.perf_counter()
    with database.connect("restore") as connection:
        backup, origin, tools = proven_backup(connection), origin_of(connection), tools_of(connection, tools_dir)
    with scratch_database(scratch, origin, progress, COMPARISON) as target:
        progress(f"restoring {backup.path.name} into {target.database.name}")

        def wait() -> None:
            progress(f"pg_restore: {time.perf_counter() - started:.0f} s so far")

        with local_copy(backup.path, backup.sha256) as dump:
            contents = contents_of(dump, tools, origin)
            outcome = restore_rows(dump, contents.restored, target.database, tools, on_wait=wait)
        refuse_failure(outcome, backup.path, target.database)
        yield RestoredBackup(backup, target.database, target.connection, time.perf_counter() - started)


@contextmanager
def both_sides(database: Database, restored: RestoredBackup) -> Iterator[Sides]:
    """Opens one moment of both sides, with the tables of the backup, parents first.

    Raises `VerificationError` when the application's tables have changed since the backup.
    """
    with exported_snapshot(database) as snapshot, restored.connection.transaction():
        yield sides_of(snapshot.connection, restored, inventory.read(restored.connection))


def sides_of(live: Connection, restored: RestoredBackup, tables: Inventory) -> Sides:
    """The two sides over the given tables; the caller has a transaction open on both connections."""
    for connection in (live, restored.connection):
        connection.execute(statement("restore/exact_texts"))
    compared = described(restored.connection, tables.tables)
    refuse_changed_columns(live, compared)
    return Sides(live, restored, tables, tuple(compared))


def refuse_failure(outcome: Outcome, dump: "Location", target: Database) -> None:
    """Raises `MigrationError` with the message of pg_restore when it failed; the backup file stays."""
    if outcome.returncode == 0:
        return
    message = tool_failures.said(outcome)
    if tool_failures.OUT_OF_SPACE.search(outcome.stderr):
        raise MigrationError(
            f"The server has no disk space to restore {dump.name} into {target.display}: {message}. Nothing was changed. "
            "Free space there and run this again."
        )
    if "permission denied" in outcome.stderr or "must be" in outcome.stderr:
        raise PreconditionError(
            f"This user lacks a right that restoring {dump.name} into {target.display} needs: {message}. Nothing was changed. "
            "Run this as a user with that right (extensions such as pgvector need a superuser or the provider's role)."
        )
    raise MigrationError(
        f"pg_restore of {dump.name} into {target.display} ended with {outcome.returncode}: {message}. Nothing was changed; the "
        "backup file stays. Correct the cause and run this again."
    )
