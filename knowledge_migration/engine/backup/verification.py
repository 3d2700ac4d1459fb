"""A verified backup: dumped under the snapshot of its fingerprint, restored into a scratch database, compared, then named.

`dump` runs while the snapshot is open and `verify` after it is closed, so vacuum waits only for the dump. A dump becomes a
backup only if every count and checksum is equal; after a failure no file looks like a backup. Reads the source only. To
resume after a crash, run it again: it removes the leftovers of a killed run.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge_migration.engine.backup import tool_failures
from knowledge_migration.engine.backup.dump import (
    Clock,
    PartialBackup,
    Progress,
    contents_of,
    dump,
    silent,
    tools_for,
    utc_now,
)
from knowledge_migration.engine.backup.location import sha256
from knowledge_migration.engine.backup.pg_tools import restore_rows
from knowledge_migration.engine.backup.scratch import Scratch, scratch_database
from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation import inventory
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.snapshot import exported_snapshot

if TYPE_CHECKING:
    from upath import UPath

    from knowledge_migration.engine.backup.location import Location

MANIFEST_FORMAT = 1
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class Backup:
    """A verified backup; `tables` are the rows of each compared table, `manifest` the file that describes it.

    `origin` is the identity of the database that was dumped: its cluster and oid.
    """

    path: "Location"
    sha256: str
    origin: str
    bytes: int
    tables: Mapping[str, int]
    taken_at: datetime
    duration_seconds: float
    restore_seconds: float
    manifest: "Location"

    def to_evidence(self) -> dict[str, Any]:
        """The backup as JSON."""
        return {
            **asdict(self),
            "path": str(self.path),
            "manifest": str(self.manifest),
            "taken_at": self.taken_at.isoformat(),
        }


def verified_backup(
    database: Database,
    *,
    directory: Path,
    scratch: Database,
    remote: "UPath | None" = None,
    tools_dir: Path | None = None,
    range_ids: int = fingerprints.DEFAULT_RANGE_IDS,
    clock: Clock = utc_now,
    progress: Progress = silent,
) -> Backup:
    """Snapshot, fingerprint, dump and verification in one call (strategy §2.1).

    Backups go to `directory`, then to `remote` if there is one; `scratch` is the maintenance database of a server where the
    user has CREATEDB; `tools_dir` overrides the choice of pg_dump. Raises the errors of `dump` and `verify`.
    """
    with exported_snapshot(database) as snapshot:
        progress("taking the fingerprint under the snapshot")
        tables = inventory.read(snapshot.connection)
        fingerprint = fingerprints.take(snapshot.connection, tables, range_ids=range_ids)
        tools = tools_for(snapshot, tools_dir)
        partial = dump(
            database, snapshot, fingerprint, directory=directory, tools=tools, clock=clock, progress=progress
        )
    return verify(partial, scratch=scratch, remote=remote, clock=clock, progress=progress)


def verify(
    partial: PartialBackup,
    *,
    scratch: Database,
    remote: "UPath | None" = None,
    clock: Clock = utc_now,
    progress: Progress = silent,
) -> Backup:
    """Restores the dump into a scratch database on the server of `scratch` (its maintenance database) and compares.

    The dump becomes a backup, at `remote` if given, when every count and checksum is equal. Raises `VerificationError` when
    one differs or the file was altered, `PreconditionError` when no scratch database can be created; it removes the dump then.
    """
    try:
        _refuse_altered(partial)
        with scratch_database(scratch, partial.origin, progress) as target:
            started = clock()
            progress(f"restoring into {target.database.name}")
            _run_pg_restore(partial, target)
            restore_seconds = (clock() - started).total_seconds()
            progress(f"restored in {restore_seconds:.1f} s; comparing every table")
            _refuse_differences(partial, target)
        if remote is not None:
            progress(f"uploading {partial.file.size:,} bytes to {remote}")
        return _published(partial, restore_seconds, clock, remote)
    except BaseException:
        partial.discard()
        raise


def _refuse_altered(partial: PartialBackup) -> None:
    if sha256(partial.file.path) != partial.sha256:
        raise VerificationError(
            f"The dump of {partial.origin.database} changed on the disk after it was written ({partial.file.path}): it "
            "is corrupted and is removed. Check the disk under the backup folder, and run the backup again."
        )


def _run_pg_restore(partial: PartialBackup, target: Scratch) -> None:
    contents = contents_of(partial.file.path, partial.tools, partial.origin)
    outcome = restore_rows(partial.file.path, contents.restored, target.database, partial.tools)
    if outcome.returncode != 0:
        raise tool_failures.restore_failed(outcome, partial.origin, partial.tools)


def _refuse_differences(partial: PartialBackup, target: Scratch) -> None:
    restored = fingerprints.take(target.connection, like=partial.fingerprint)
    differences = fingerprints.differences(partial.fingerprint, restored)
    if differences:
        raise VerificationError(
            f"The restored dump of {partial.origin.database} differs from the database in {len(differences)} places: "
            f"{'; '.join(map(str, differences[:SHOWN_DIFFERENCES]))}. The dump is removed. Run the backup again; if it "
            "differs again, compare the tables named here."
        )


def _published(partial: PartialBackup, restore_seconds: float, clock: Clock, remote: "UPath | None" = None) -> Backup:
    size = partial.file.size
    path, manifest = partial.file.publish(
        {
            "format": MANIFEST_FORMAT,
            "database": partial.origin.database,
            "origin": partial.origin.identity,
            "sha256": partial.sha256,
            "bytes": size,
            "tables": dict(partial.fingerprint.rows),
            "fingerprint_digest": partial.fingerprint.digest,
            "taken_at": partial.fingerprint.taken_at.isoformat(),
            "verified_at": clock().isoformat(),
            "server_version": partial.fingerprint.server_version,
            "tool_version": partial.tools.version,
            "duration_seconds": partial.duration_seconds,
            "restore_seconds": restore_seconds,
            "warnings": list(partial.warnings),
        },
        remote,
    )
    return Backup(
        path=path,
        sha256=partial.sha256,
        origin=partial.origin.identity,
        bytes=size,
        tables=partial.fingerprint.rows,
        taken_at=partial.fingerprint.taken_at,
        duration_seconds=partial.duration_seconds,
        restore_seconds=restore_seconds,
        manifest=manifest,
    )
