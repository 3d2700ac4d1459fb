"""A verified backup of a database, and how a drill works."""

from pathlib import Path

from knowledge_migration.engine.backup.location import BackupFolder
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.preparation.legacy_snapshot import take_legacy_snapshot
from knowledge_migration.engine.rehearsal.drill import DrillOptions
from knowledge_migration.knowledge.extraction.local import LocalExtractor


def back_up(database: Database, server: EmbeddedServer, folder: Path) -> None:
    take_legacy_snapshot(
        database,
        folder=BackupFolder(folder),
        scratch=server.admin,
        tools_directory=None,
        range_ids=1_000,
        progress=lambda _: None,
    )


def options(server: EmbeddedServer) -> DrillOptions:
    return DrillOptions(scratch=server.admin, extractor=LocalExtractor())
