"""Inventory, fingerprint and verified backup of one exported snapshot, kept as evidence (strategy §2.1).

All three describe exactly the same rows. Reads the database only; writes the evidence after the backup is verified.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge_migration.engine.backup.dump import dump, tools_for
from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.backup.location import BackupFolder
from knowledge_migration.engine.backup.verification import Backup, verify
from knowledge_migration.engine.foundation import evidence, inventory, legacy_rows
from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.fingerprint import Fingerprint
from knowledge_migration.engine.foundation.inventory import Inventory
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration.settings import ValidationSettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LegacySnapshot:
    """The inventory, fingerprint and backup of one moment."""

    inventory: Inventory
    fingerprint: Fingerprint
    backup: Backup

    @property
    def fingerprint_rows(self) -> list[dict[str, Any]]:
        """One row per table, for a report."""
        return [
            {"table": name, "rows": table.rows, "ranges": len(table.ranges), "columns": len(table.columns)}
            for name, table in self.fingerprint.tables.items()
        ]


def take_legacy_snapshot(
    database: Database,
    *,
    folder: BackupFolder,
    scratch: Database,
    tools_directory: Path | None,
    range_ids: int,
    limits: ValidationSettings | None = None,
    dagster_run_id: str | None = None,
    progress: Callable[[str], None],
) -> LegacySnapshot:
    """Takes and verifies all three, and records them as evidence. Raises `MigrationError` and records nothing then."""
    folder.refuse_unwritable()
    with database.connect("legacy rows") as connection:
        legacy_rows.refuse_to_replace(connection, limits or ValidationSettings())
    with exported_snapshot(database) as snapshot:
        tables = inventory.read(snapshot.connection)
        progress(f"{sum(tables.rows.values()):,} rows in {len(tables.tables)} tables; taking their fingerprint")
        fingerprint = fingerprints.take(snapshot.connection, tables, range_ids=range_ids)
        tools = tools_for(snapshot, tools_directory)
        legacy_rows.remember(database, snapshot.snapshot_id, fingerprint)
        partial = dump(database, snapshot, fingerprint, directory=folder.directory, tools=tools, progress=progress)
    verified = verify(partial, scratch=scratch, remote=folder.remote, progress=progress)
    contents = {
        "data_inventory": tables.to_evidence(),
        "legacy_fingerprint": fingerprint.to_evidence(),
        "verified_backup": verified.to_evidence(),
    }
    with database.connect("evidence") as connection, connection.transaction():
        for kind, content in contents.items():
            evidence.record(connection, kind, content, dagster_run_id=dagster_run_id)
        legacy_rows.forget_others(connection, fingerprint.taken_at)
    return LegacySnapshot(tables, fingerprint, verified)


def inventory_frame(tables: Inventory) -> "pd.DataFrame":
    """One row per table, for a report: rows, ids, sizes, number of columns, references."""
    import pandas as pd  # imported here: the import takes half a second

    rows = [
        {
            "table": table.label,
            "rows": table.rows,
            "heap_bytes": table.heap_bytes,
            "index_bytes": table.index_bytes,
            "total_bytes": table.total_bytes,
            "columns": len(table.columns),
            "references": ", ".join(f"{', '.join(key.columns)} → {key.referenced}" for key in table.foreign_keys),
        }
        for table in tables.tables
    ]
    frame = pd.DataFrame(rows)
    for place, name in enumerate(("lowest_id", "highest_id"), start=2):  # exact integers, though some are NULL
        frame.insert(place, name, pd.Series([getattr(table, name) for table in tables.tables], dtype="Int64"))
    return frame


def backup_outcome(connection: Connection) -> CheckOutcome:
    """Whether the file of the latest verified backup is still the one that was verified."""
    recorded = evidence.require(connection, "verified_backup", made_by="asset verified_backup")
    problems: tuple[dict[str, Any], ...] = ()
    try:
        verify_file(recorded.content)
    except MigrationError as error:
        problems = ({"file": recorded.content["path"], "problem": str(error)},)
    return CheckOutcome(
        name="backup_file_is_unaltered",
        count=len(problems),
        sample=problems,
        description="The file of the verified backup exists and has the verified checksum.",
        remedy="Materialize verified_backup again: it dumps, restores and compares anew.",
        numbers={"path": recorded.content["path"], "age_hours": round(recorded.age_hours(), 2)},
    )
