"""The fingerprint of a test's database with its rows, without a backup."""

from knowledge_migration.engine.foundation import evidence, fingerprint, legacy_rows
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.snapshot import exported_snapshot


def take_fingerprint(database: Database, range_ids: int = 10_000) -> None:
    """Records it as phase 0 does."""
    with exported_snapshot(database) as snapshot:
        taken = fingerprint.take(snapshot.connection, range_ids=range_ids)
        legacy_rows.remember(database, snapshot.snapshot_id, taken)
    with database.connect("test") as connection, connection.transaction():
        evidence.record(connection, legacy_rows.ASSET, taken.to_evidence())
        legacy_rows.forget_others(connection, taken.taken_at)
