"""A PostgreSQL of our own that has pg_trgm (the embedded ones do not): the system's, on a socket in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

BINARIES = Path("/usr/lib/postgresql/15/bin")
USER = "postgres"


def available() -> bool:
    """Whether the server is installed, and this user may start it."""
    return (BINARIES / "initdb").exists() and (os.geteuid() != 0 or shutil.which("runuser") is not None)


@contextmanager
def trigram_server() -> Iterator[sa.Engine]:
    """An engine on an empty database with pg_trgm installed; the server ends with the context."""
    with tempfile.TemporaryDirectory(prefix="kmtrgm_", ignore_cleanup_errors=True) as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        data = str(Path(folder) / "data")
        _run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        _run("pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        engine = sa.create_engine(f"postgresql+psycopg://{USER}@/postgres?host={folder}")
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE EXTENSION pg_trgm"))
            yield engine
        finally:
            engine.dispose()
            _run("pg_ctl", "-D", data, "-w", "-m", "fast", "stop")


def _run(binary: str, *arguments: str) -> None:
    command = [str(BINARIES / binary), *arguments]
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/tmp")
