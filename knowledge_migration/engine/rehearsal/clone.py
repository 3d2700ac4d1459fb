"""The clone that a rehearsal or a drill changes: the verified backup, a sample of the rows, or a copy of the operator (§2.3).

Production is only read. A scratch database is dropped at the end; the operator's copy stays as the last rollback left it. A
sample and a copy get a verified backup of their own, which the full rollback compares with.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_migration.engine.backfill.signals import server_disk
from knowledge_migration.engine.backup.scratch import origin_of
from knowledge_migration.engine.backup.verification import verified_backup
from knowledge_migration.engine.foundation import evidence, inventory
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import hashed_tables
from knowledge_migration.engine.rehearsal.sample import restored_sample
from knowledge_migration.engine.rehearsal.staging_run import revert_to_legacy
from knowledge_migration.engine.rollback.database_swap import other_sessions
from knowledge_migration.engine.rollback.repair.backup_copy import restored_backup
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.settings import Settings

ENTITY_COPIES = 3
"""Topics and atoms exist three times on the clone: as they were, with their links, and as proposals."""
GIGABYTE = 1e9

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Clone:
    """A database that may be changed, the backup that its full rollback compares with, the seconds until it was there.

    `share` is its part of production's topics and atoms: 1 for all of them.
    """

    database: Database
    backup: Mapping[str, Any]
    seconds: float
    share: float = 1.0


@dataclass(frozen=True)
class CloneCost:
    """The bytes on the server of the clone, the bytes free there if they are visible, and the seconds, if they are known."""

    what: str
    server: str
    bytes: int
    free_bytes: int | None
    seconds: float | None

    @property
    def sentence(self) -> str:
        """For the progress and `rehearse --dry-run`."""
        free = "" if self.free_bytes is None else f" ({self.free_bytes / GIGABYTE:,.2f} GB are free)"
        seconds = "" if self.seconds is None else f" and about {self.seconds:,.0f} s until it is there"
        return f"the clone ({self.what}) needs about {self.bytes / GIGABYTE:,.2f} GB on {self.server}{free}{seconds}"


def cost_of_clone(database: Database, scratch: Database, settings: Settings) -> CloneCost:
    """Disk and time that the clone takes, from the verified backup and the sizes of the tables; reads the catalog only.

    Raises `PreconditionError` without a verified backup.
    """
    rehearsal, url = settings.rehearsal, settings.rehearsal.clone_url
    with database.connect("rehearsal") as connection:
        backup = _backup(connection)
        size = origin_of(connection).size_bytes
        tables = connection.execute(statement("rehearsal/table_sizes"), {"tables": list(backup["tables"])}).fetchall()
    if url:
        copy = Database(url.get_secret_value())
        return CloneCost(
            "your copy: topics and atoms once more, and as proposals", copy.display, _growth(tables, {}), None, None
        )
    shares = _shares(backup["tables"], rehearsal.rows)
    whole = sum(row["bytes"] for row in tables) or 1
    sampled = sum(row["bytes"] * shares[row["label"]] for row in tables)
    with scratch.connect("rehearsal") as connection:
        folder = connection.execute(statement("pace/circumstances")).fetchone()
        disk = server_disk(connection, folder["data_directory"] if folder else None)
    restored = size if rehearsal.rows is None else sampled
    return CloneCost(
        "all rows" if rehearsal.rows is None else f"a sample of {rehearsal.rows:,} rows of each larger table",
        scratch.display,
        int(restored + _growth(tables, shares)),
        disk.free if disk else None,
        backup["restore_seconds"] * sampled / whole,
    )


@contextmanager
def clone_of(database: Database, scratch: Database, settings: Settings, progress: Progress) -> Iterator[Clone]:
    """Provides the clone that the settings choose, in the legacy schema, and says beforehand what it costs.

    Raises `PreconditionError` without a verified backup, without the right to create a database, where the disk is too small,
    or where the copy is not one; `BlockedError` where others are connected to the copy.
    """
    cost = cost_of_clone(database, scratch, settings)
    progress(cost.sentence)
    if cost.free_bytes is not None and cost.free_bytes < cost.bytes:
        raise PreconditionError(
            f"The disk is too small: {cost.sentence}. Nothing was changed. Free space there, name another server in "
            "KNOWLEDGE_MIGRATION_SCRATCH_URL, or rehearse on a sample (KNOWLEDGE_MIGRATION_REHEARSAL_ROWS=1000000)."
        )
    with database.connect("rehearsal") as connection:
        backup = _backup(connection)
    if settings.rehearsal.clone_url:
        chosen = _copy_of_the_operator
    elif settings.rehearsal.rows:
        chosen = _sample
    else:
        chosen = _whole
    with chosen(database, backup, scratch, settings, progress) as clone:
        yield clone


@contextmanager
def _whole(
    database: Database, backup: Mapping[str, Any], scratch: Database, settings: Settings, progress: Progress
) -> Iterator[Clone]:
    tools_dir = settings.installation.pg_bin
    with restored_backup(database, scratch=scratch, tools_dir=tools_dir, progress=progress) as restored:
        revert_to_legacy(restored.database, settings)
        yield Clone(restored.database, backup, restored.seconds)


@contextmanager
def _sample(
    database: Database, backup: Mapping[str, Any], scratch: Database, settings: Settings, progress: Progress
) -> Iterator[Clone]:
    started = time.perf_counter()
    shares, tools_dir = _shares(backup["tables"], settings.rehearsal.rows), settings.installation.pg_bin
    with (
        restored_sample(database, shares, scratch=scratch, tools_dir=tools_dir, progress=progress) as sample,
        _prepared(sample, backup, scratch, settings, progress, started) as clone,
    ):
        yield clone


@contextmanager
def _copy_of_the_operator(
    database: Database, backup: Mapping[str, Any], scratch: Database, settings: Settings, progress: Progress
) -> Iterator[Clone]:
    assert settings.rehearsal.clone_url is not None
    started = time.perf_counter()
    copy = Database(settings.rehearsal.clone_url.get_secret_value())
    with copy.connect("rehearsal") as connection, advisory_lock(connection, "rehearsal"):
        with database.connect("rehearsal") as live:
            _refuse_other_than_copy(live, connection, copy)
        with _prepared(copy, backup, scratch, settings, progress, started) as clone:
            yield clone


@contextmanager
def _prepared(
    copy: Database, backup: Mapping[str, Any], scratch: Database, settings: Settings, progress: Progress, started: float
) -> Iterator[Clone]:
    """The clone in the legacy schema, with a backup of its own."""
    revert_to_legacy(copy, settings)
    with tempfile.TemporaryDirectory(prefix="rehearsal_") as folder:
        own = verified_backup(
            copy, directory=Path(folder), scratch=scratch, tools_dir=settings.installation.pg_bin, progress=progress
        )
        share = max(1, _entities(own.tables)) / max(1, _entities(backup["tables"]))
        progress(
            f"the clone has {_entities(own.tables):,} topics and atoms, {100 * share:.3g} % of those in the backup"
        )
        yield Clone(copy, own.to_evidence(), time.perf_counter() - started, share)


def _refuse_other_than_copy(live: Connection, connection: Connection, copy: Database) -> None:
    if origin_of(live).identity == origin_of(connection).identity:
        raise PreconditionError(
            f"KNOWLEDGE_MIGRATION_REHEARSAL_CLONE_URL names the database to migrate, {copy.display}. Nothing was changed. Name a "
            "copy of it that may be changed, or unset it."
        )
    names = [(table.schema, table.name) for table in inventory.read(live).tables]
    differing = _columns(live, names) ^ _columns(connection, names)
    if differing:
        raise PreconditionError(
            f"{copy.display} is no copy of the database to migrate; these columns differ: {', '.join(sorted(differing)[:8])}. "
            "Nothing was changed. Name a fresh copy in KNOWLEDGE_MIGRATION_REHEARSAL_CLONE_URL, or unset it."
        )
    if others := other_sessions(connection, connection.info.dbname, (connection.info.backend_pid,)):
        raise BlockedError(
            f"Others are connected to the copy {copy.display}: {'; '.join(others)}. A rehearsal changes and deletes rows, so "
            "nobody may use it. Nothing was changed. End these sessions, then run this again."
        )


def _columns(connection: Connection, names: list[tuple[str, str]]) -> set[str]:
    return {
        f"{table.label}.{hashed.column.name} {hashed.column.type}"
        for table in hashed_tables(connection, names)
        for hashed in table.columns
    }


def _backup(connection: Connection) -> dict[str, Any]:
    return evidence.require(connection, "verified_backup", made_by="asset verified_backup").content


def _entities(rows: Mapping[str, int]) -> int:
    return sum(rows.get(kind.table, 0) for kind in KINDS)


def _shares(rows: Mapping[str, int], wanted: int | None) -> dict[str, float]:
    """The part of each table's rows in the sample."""
    return {label: 1.0 if wanted is None else min(1.0, wanted / max(1, count)) for label, count in rows.items()}


def _growth(tables: list[dict[str, Any]], shares: Mapping[str, float]) -> int:
    """What the migration adds to topics and atoms."""
    entities = {kind.table for kind in KINDS}
    added = (row["bytes"] * shares.get(row["label"], 1.0) for row in tables if row["label"] in entities)
    return int((ENTITY_COPIES - 1) * sum(added))
