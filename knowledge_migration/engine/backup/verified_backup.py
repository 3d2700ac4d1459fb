"""A backup that is known to restore: dumped under the snapshot of its fingerprint, restored elsewhere, compared, named.

`dump` runs while the snapshot is open and `prove` after it was closed, so that vacuum waits for the dump alone;
`verified_backup` does it all. Only equality in every table, range and column makes a dump a backup: until then, and
after any failure, there is nothing that looks like one. Reads the source only. To resume after a crash, run it again:
what a killed run left, in the folder and on the scratch server, is removed then.
"""

from pathlib import Path

from knowledge_migration.engine.backup.dump import Clock, PartialBackup, Progress, dump, silent, tools_for, utc_now
from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.backup.proof import Backup, prove
from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation import inventory
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.snapshot import exported_snapshot

__all__ = ["Backup", "PartialBackup", "dump", "prove", "tools_for", "verified_backup", "verify_file"]


def verified_backup(
    database: Database,
    *,
    directory: Path,
    scratch: Database,
    tools_dir: Path | None = None,
    range_ids: int = fingerprints.DEFAULT_RANGE_IDS,
    clock: Clock = utc_now,
    progress: Progress = silent,
) -> Backup:
    """Snapshot, fingerprint, dump and proof in one call (strategy §2.1).

    Backups go to `directory`; `scratch` is the maintenance database of a server where the user has CREATEDB;
    `tools_dir` overrides the choice of pg_dump. Raises what `dump` and `prove` raise.
    """
    with exported_snapshot(database) as snapshot:
        progress("taking the fingerprint under the snapshot")
        found = inventory.read(snapshot.connection)
        fingerprint = fingerprints.take(snapshot.connection, found, range_ids=range_ids)
        tools = tools_for(snapshot, tools_dir)
        partial = dump(
            database, snapshot, fingerprint, directory=directory, tools=tools, clock=clock, progress=progress
        )
    return prove(partial, scratch=scratch, clock=clock, progress=progress)
