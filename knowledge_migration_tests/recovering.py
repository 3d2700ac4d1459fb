"""The commands of recovery as an operator types them, as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from knowledge_migration.engine.database import Database

PROJECT = Path(__file__).parents[1]
COMMAND = """
from knowledge_migration import cli
from knowledge_migration.commands import recovery
if "recover" not in [group.name for group in cli.app.registered_groups]:
    cli.app.add_typer(recovery.app, name="recover")
    cli.backfill_app.command("status")(recovery.backfill_status)
cli.main()
"""


def command(database: Database, *words: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs `knowledge-migration WORDS` on a database."""
    environment = {
        **os.environ,
        "KNOWLEDGE_MIGRATION_HOME": str(home),
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        check=False,
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        input=answer,
    )


def recover(database: Database, *words: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs `knowledge-migration recover WORDS` on a database."""
    return command(database, "recover", *words, home=home, answer=answer)
