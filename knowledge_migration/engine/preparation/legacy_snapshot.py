"""Inventory, fingerprint and verified backup of one moment, kept as evidence (strategy §2.1).

The three share one exported snapshot: the counts, the checksums and the dump speak of exactly the same rows. Reads the
database only; what is written is our own evidence, after the backup is proven.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_migration.engine.backup import verified_backup as backup
from knowledge_migration.engine.backup.verified_backup import Backup
from knowledge_migration.engine.foundation import evidence, inventory
from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.fingerprint import Fingerprint
from knowledge_migration.engine.foundation.inventory import Inventory
from knowledge_migration.engine.foundation.snapshot import exported_snapshot


@dataclass(frozen=True)
class LegacySnapshot:
    """What was taken of one moment."""

    inventory: Inventory
    fingerprint: Fingerprint
    backup: Backup

    @property
    def fingerprint_rows(self) -> list[dict[str, Any]]:
        """One line a table, for a report."""
        return [
            {"table": name, "rows": table.rows, "ranges": len(table.ranges), "columns": len(table.columns)}
            for name, table in self.fingerprint.tables.items()
        ]


def take_legacy_snapshot(
    database: Database,
    *,
    directory: Path,
    scratch: Database,
    tools_directory: Path | None,
    range_ids: int,
    dagster_run_id: str | None = None,
    progress: Callable[[str], None],
) -> LegacySnapshot:
    """Takes and proves all three, and keeps them as evidence. Raises `MigrationError`; nothing is recorded then."""
    with exported_snapshot(database) as snapshot:
        found = inventory.read(snapshot.connection)
        progress(f"{sum(found.rows.values()):,} rows in {len(found.tables)} tables; taking their fingerprint")
        fingerprint = fingerprints.take(snapshot.connection, found, range_ids=range_ids)
        tools = backup.tools_for(snapshot, tools_directory)
        partial = backup.dump(database, snapshot, fingerprint, directory=directory, tools=tools, progress=progress)
    proven = backup.prove(partial, scratch=scratch, progress=progress)
    contents = {
        "data_inventory": found.to_evidence(),
        "legacy_fingerprint": fingerprint.to_evidence(),
        "verified_backup": proven.to_evidence(),
    }
    with database.connect("evidence") as connection, connection.transaction():
        for kind, content in contents.items():
            evidence.record(connection, kind, content, dagster_run_id=dagster_run_id)
    return LegacySnapshot(found, fingerprint, proven)


def backup_outcome(connection: Connection) -> CheckOutcome:
    """Whether the file of the latest verified backup is still the one that was verified."""
    recorded = evidence.require(connection, "verified_backup", made_by="asset verified_backup")
    broken: tuple[dict[str, Any], ...] = ()
    try:
        backup.verify_file(Path(recorded.content["path"]))
    except MigrationError as error:
        broken = ({"file": recorded.content["path"], "problem": str(error)},)
    return CheckOutcome(
        name="backup_file_is_unaltered",
        count=len(broken),
        sample=broken,
        description="The file of the verified backup is there and has the checksum that was verified.",
        remedy="Materialize verified_backup again: it dumps, restores and compares anew.",
        numbers={"path": recorded.content["path"], "age_hours": round(recorded.age_hours(), 2)},
    )
