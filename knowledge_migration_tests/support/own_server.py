"""A server of one test module with options that need a start, and a standby of it; both end with their block."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer


@contextmanager
def own_server(server: EmbeddedServer, *options: str) -> Iterator[Database]:
    """A new server with the programs of `server`, started with these settings ("name=value")."""
    with _folder(server) as folder:
        _tool(
            server, "initdb", "-D", f"{folder}/data", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        with _running(server, folder, *options) as database:
            yield database


@contextmanager
def standby(server: EmbeddedServer, primary: Database) -> Iterator[Database]:
    """A standby of a server that `own_server` has started; it reports its position every second."""
    with primary.connect("test") as connection, _folder(server) as folder:
        _tool(
            server, "pg_basebackup", "-h", connection.info.host, "-U", "postgres", "-D", f"{folder}/data", "-R", "-X",
            "stream", "-c", "fast", "--no-sync",
        )  # fmt: skip
        with _running(server, folder, "wal_receiver_status_interval=1s") as database:
            yield database


@contextmanager
def _folder(server: EmbeddedServer) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="kmo_", ignore_cleanup_errors=True) as folder:
        if server.system_user:
            shutil.chown(folder, server.system_user)
        yield folder


@contextmanager
def _running(server: EmbeddedServer, folder: str, *options: str) -> Iterator[Database]:
    settings = " ".join(f"-c {option}" for option in ("fsync=off", *options))
    data = ("-D", f"{folder}/data")
    _tool(server, "pg_ctl", "-w", *data, "-l", f"{folder}/log", "-o", f"-h '' -k {folder} {settings}", "start")
    try:
        yield Database(
            URL.create("postgresql", "postgres", database="postgres", query={"host": folder}).render_as_string()
        )
    finally:
        _tool(server, "pg_ctl", "-w", *data, "-m", "immediate", "stop")


def _tool(server: EmbeddedServer, name: str, *arguments: str) -> None:
    subprocess.run(
        [server.bin_path / name, *arguments], check=True, stdout=subprocess.DEVNULL, user=server.system_user, cwd="/"
    )
