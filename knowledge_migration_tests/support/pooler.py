"""PgBouncer in front of a test's server."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.support.conditions import comes_true

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None and "TESTS_INSIST" not in os.environ,
    reason="needs PgBouncer (Debian's package pgbouncer)",
)
SETTINGS = """
[databases]
* = host={host} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 5
logfile = {folder}/pgbouncer.log
ignore_startup_parameters = extra_float_digits{ignored}
"""


@contextmanager
def pooler(
    server: EmbeddedServer, database: Database, folder: Path, *, mode: str = "transaction", ignored: str = ""
) -> Iterator[Database]:
    """The database through PgBouncer, which answers while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host = make_url(server.admin.url).query["host"]
    file = folder / "pgbouncer.ini"
    file.write_text(SETTINGS.format(host=host, port=port, mode=mode, folder=folder, ignored=ignored))
    user = ["-u", server.system_user or "nobody"] if os.getuid() == 0 else []
    for path in (file, folder, *folder.parents):
        with suppress(PermissionError):
            path.chmod(path.stat().st_mode | 0o755)
    folder.chmod(0o777)
    process = subprocess.Popen([PGBOUNCER or "pgbouncer", "-q", *user, file], stderr=subprocess.DEVNULL)
    pooled = Database(f"postgresql://postgres@127.0.0.1:{port}/{database.name}")
    try:
        comes_true(lambda: answers(pooled))
        yield pooled
    finally:
        process.terminate()
        process.wait(30)


def answers(database: Database) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(database.conninfo):
        return True
    return False


def setting(database: Database, name: str) -> str:
    """As a session of the application sees it."""
    with psycopg.connect(database.conninfo) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])
