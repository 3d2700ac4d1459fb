"""Runs commands as an operator does, each in its own process."""

import os
import subprocess
import sys
from pathlib import Path

from knowledge_migration.engine.foundation.database import Database

PROJECT = Path(__file__).parents[1]


def command(database: Database, *arguments: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs `knowledge-migration ARGUMENTS` on a database."""
    environment = {
        **os.environ,
        "KNOWLEDGE_MIGRATION_HOME": str(home),
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-m", "knowledge_migration.commands.main", *arguments],
        check=False,
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        input=answer,
    )


def recover(database: Database, *arguments: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs `knowledge-migration recover ARGUMENTS` on a database."""
    return command(database, "recover", *arguments, home=home, answer=answer)
