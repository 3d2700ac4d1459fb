"""Restores a dump with pg_restore into a database that is new and empty, all of it or with an error.

A proof leaves out what holds no row and needs roles or reaches out of the database; a database that is to be used gets
everything, owners and rights included. What a failure means is for the caller to say.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from knowledge_migration.engine.backup import pg_tools
from knowledge_migration.engine.backup.archive_contents import Contents
from knowledge_migration.engine.backup.pg_tools import Outcome, PgTools
from knowledge_migration.engine.foundation.database import Database

RESTORE_JOBS = 2


def restore_rows(
    dump: Path,
    contents: Contents,
    target: Database,
    tools: PgTools,
    *,
    on_wait: Callable[[], None] = lambda: None,
) -> Outcome:
    """Restores the tables with their rows, constraints and code, owned by the user who restores."""
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as chosen:
        chosen.write(contents.restored)
        chosen.flush()
        options = ["--no-owner", "--no-privileges", "--no-tablespaces", f"--use-list={chosen.name}"]
        # a scratch database need not survive a crash, so its commits wait for no disk
        return _pg_restore(dump, target, tools, options, "-c synchronous_commit=off", on_wait)


def restore_everything(
    dump: Path, target: Database, tools: PgTools, *, on_wait: Callable[[], None] = lambda: None
) -> Outcome:
    """Restores every entry of the dump, with its owner and its rights."""
    return _pg_restore(dump, target, tools, [], "", on_wait)


def _pg_restore(
    dump: Path,
    target: Database,
    tools: PgTools,
    options: list[str],
    session_options: str,
    on_wait: Callable[[], None],
) -> Outcome:
    command: list[str | Path] = [
        tools.pg_restore,
        "--exit-on-error",
        "--no-password",
        f"--jobs={RESTORE_JOBS}",
        *options,
        f"--dbname={pg_tools.address_argument(target)}",
        dump,
    ]
    return pg_tools.run(command, pg_tools.environment(target, session_options=session_options), on_wait=on_wait)
