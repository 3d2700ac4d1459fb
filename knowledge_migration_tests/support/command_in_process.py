"""Runs commands in the process of the test: a process of its own takes 3 s of CPU before the command begins.

`recovering` runs them as an operator does; use it where the process itself matters.
"""

import io
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from knowledge_migration.commands.main import main
from knowledge_migration.commands.terminal import console
from knowledge_migration.engine.foundation.database import Database

COLUMNS = 200


def recover(database: Database, *arguments: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """The exit code and the output of `knowledge-migration recover ARGUMENTS` on a database."""
    return command(database, "recover", *arguments, home=home, answer=answer)


def command(database: Database, *arguments: str, home: Path, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """The exit code and the output of `knowledge-migration ARGUMENTS` on a database."""
    environment = {
        "KNOWLEDGE_MIGRATION_HOME": str(home),
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "COLUMNS": str(COLUMNS),
    }
    argv = ["knowledge-migration", *arguments]
    output, errors, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch("sys.argv", argv),
        mock.patch("sys.stdin", io.StringIO(answer)),
        mock.patch.object(console, "_width", COLUMNS),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(argv, code, output.getvalue(), errors.getvalue())
