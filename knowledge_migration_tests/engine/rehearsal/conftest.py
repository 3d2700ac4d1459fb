"""A verified backup of a database, and how a drill works."""

from pathlib import Path

from knowledge_migration.engine.backup.location import BackupFolder
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.preparation.legacy_snapshot import take_legacy_snapshot
from knowledge_migration.engine.rehearsal.drill import DrillOptions
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import fill
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES


def filled_and_backed_up(database: Database, server: EmbeddedServer, folder: Path, statements: str = "") -> None:
    """Rows, people and messages, what the statements do, the evidence store, and a verified backup."""
    fill(database)
    with database.connect("test template") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        if statements:
            connection.execute(statements.encode())
    schema.upgrade(database, SchemaChangeSettings(), to=EVIDENCE_REVISION)
    back_up(database, server, folder)


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
