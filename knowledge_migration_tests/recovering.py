"""Runs commands as an operator types them, in this process: a process of its own needs 1 s of CPU time to load them."""

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from typer.testing import CliRunner

from knowledge_migration.commands.main import main
from knowledge_migration.engine.foundation.database import Database

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Completed:
    """The exit code of a command and its output."""

    returncode: int
    stdout: str
    stderr: str


def command(database: Database, *arguments: str, home: Path, answer: str = "") -> Completed:
    """Runs `knowledge-migration ARGUMENTS` on a database."""
    environment = {"KNOWLEDGE_MIGRATION_HOME": str(home), "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url}
    with (
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", ["knowledge-migration", *arguments]),
        contextlib.chdir(PROJECT),
        CliRunner().isolation(input=answer) as (out, err, *_),
    ):
        code: int | str | None = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        return Completed(code if isinstance(code, int) else int(code is not None), text_of(out), text_of(err))


def text_of(stream: object) -> str:
    """What was written to a captured stream."""
    sys.stdout.flush()
    sys.stderr.flush()
    return stream.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


def recover(database: Database, *arguments: str, home: Path, answer: str = "") -> Completed:
    """Runs `knowledge-migration recover ARGUMENTS` on a database."""
    return command(database, "recover", *arguments, home=home, answer=answer)
