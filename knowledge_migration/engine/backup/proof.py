"""The proof of a dump: restored into a scratch database, and equal there in every count and checksum.

Only then does the dump get the name of a backup, and its manifest. Needs neither the snapshot nor the source any more.
When anything differs or fails, the dump and the scratch database are removed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from knowledge_migration.engine.backup import files as backup_files
from knowledge_migration.engine.backup import tool_failures
from knowledge_migration.engine.backup.dump import Clock, PartialBackup, Progress, contents_of, silent, utc_now
from knowledge_migration.engine.backup.restoring import restore_rows
from knowledge_migration.engine.backup.scratch import Scratch, scratch_database
from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import VerificationError

MANIFEST_FORMAT = 1
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class Backup:
    """A proven backup; `tables` are the rows of each table that was compared, `manifest` the file that describes it."""

    path: Path
    sha256: str
    bytes: int
    tables: Mapping[str, int]
    taken_at: datetime
    duration_seconds: float
    restore_seconds: float
    manifest: Path

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            **asdict(self),
            "path": str(self.path),
            "manifest": str(self.manifest),
            "taken_at": self.taken_at.isoformat(),
        }


def prove(partial: PartialBackup, *, scratch: Database, clock: Clock = utc_now, progress: Progress = silent) -> Backup:
    """Restores the dump into a scratch database on the server of `scratch` (its maintenance database) and compares.

    The dump becomes a backup when every count and checksum is equal. Raises `VerificationError` when one is not or the
    file was altered, `PreconditionError` when no scratch database can be made; the dump is removed then.
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
        return _published(partial, restore_seconds, clock)
    except BaseException:
        partial.discard()
        raise


def _refuse_altered(partial: PartialBackup) -> None:
    if backup_files.sha256(partial.file.path) != partial.sha256:
        raise VerificationError(
            f"The dump of {partial.origin.database} changed on the disk after it was written ({partial.file.path}): it "
            "is corrupted, and is removed. Check the disk under the backup folder, and run the backup again."
        )


def _run_pg_restore(partial: PartialBackup, target: Scratch) -> None:
    contents = contents_of(partial.file.path, partial.tools, partial.origin)
    outcome = restore_rows(partial.file.path, contents, target.database, partial.tools)
    if outcome.returncode != 0:
        raise tool_failures.restore_failed(outcome, partial.origin, partial.tools)


def _refuse_differences(partial: PartialBackup, target: Scratch) -> None:
    restored = fingerprints.take(target.connection, like=partial.fingerprint)
    found = fingerprints.differences(partial.fingerprint, restored)
    if found:
        raise VerificationError(
            f"The restored dump of {partial.origin.database} differs from the database in {len(found)} places: "
            f"{'; '.join(map(str, found[:SHOWN_DIFFERENCES]))}. It is removed, since it would not bring back what was "
            "there. Run the backup again; if it differs again, compare the tables named here before going on."
        )


def _published(partial: PartialBackup, restore_seconds: float, clock: Clock) -> Backup:
    size = partial.file.size
    path, manifest = partial.file.publish(
        {
            "format": MANIFEST_FORMAT,
            "database": partial.origin.database,
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
        }
    )
    return Backup(
        path=path,
        sha256=partial.sha256,
        bytes=size,
        tables=partial.fingerprint.rows,
        taken_at=partial.fingerprint.taken_at,
        duration_seconds=partial.duration_seconds,
        restore_seconds=restore_seconds,
        manifest=manifest,
    )
