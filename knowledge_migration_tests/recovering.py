"""The commands of recovery as an operator types them, as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from knowledge_migration.engine.foundation.database import Database

PROJECT = Path(__file__).parents[1]


def command(database: Database, *words: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs `knowledge-migration WORDS` on a database."""
    environment = {
        **os.environ,
        "KNOWLEDGE_MIGRATION_HOME": str(home),
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-m", "knowledge_migration.commands.main", *words],
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
