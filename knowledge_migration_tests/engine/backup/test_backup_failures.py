"""What kills a backup from outside: signals, a full disk, a dead process. Real processes are killed, real disks filled."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from knowledge_migration.engine.backup import dump as backup_dump
from knowledge_migration.engine.backup.verification import verified_backup
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError
from knowledge_migration_tests.engine.backup.legacy_rows import fill

WHOLE_BACKUP = """
import signal
import sys
from pathlib import Path
from knowledge_migration.engine.backup.verification import verified_backup
from knowledge_migration.engine.foundation.database import Database

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has its children ignore it
url, admin, folder = sys.argv[1:]
verified_backup(Database(url), directory=Path(folder), scratch=Database(admin))
"""
DEADLINE_SECONDS = 60


@pytest.fixture
def filled(connection: Connection) -> Connection:
    fill(connection)
    connection.execute("CREATE TABLE elsewhere (noise bytea)")
    return connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {DEADLINE_SECONDS} s")


def pg_dump_of(parent: int) -> psutil.Process | None:
    children = psutil.Process(parent).children(recursive=True)
    return next((child for child in children if child.name() == "pg_dump"), None)


@contextmanager
def pg_dump_held(database: Database) -> Iterator[Callable[[], bool]]:
    """Locks a table that only pg_dump wants; yields a look whether pg_dump waits for it."""
    with database.connect() as locker, database.connect() as observer, locker.transaction():
        locker.execute("LOCK TABLE elsewhere IN ACCESS EXCLUSIVE MODE")

        def waits() -> bool:
            found = observer.execute(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                " AND application_name = 'knowledge_migration backup'"
            )
            return found.fetchone() is not None

        yield waits


def noise(connection: Connection, megabytes: int) -> None:
    for _ in range(megabytes):
        connection.execute("INSERT INTO elsewhere VALUES (%s)", [os.urandom(1 << 20)])


def test_a_killed_pg_dump_leaves_nothing_and_is_named_with_its_signal(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    killed: list[int] = []

    def kill_it(waits: Callable[[], bool]) -> None:
        wait_for(waits, "pg_dump's wait for the lock")
        child = wait_for(lambda: pg_dump_of(os.getpid()), "pg_dump")
        child.kill()
        killed.append(child.pid)

    with pg_dump_held(database) as waits:
        killer = threading.Thread(target=kill_it, args=(waits,))
        killer.start()
        with pytest.raises(MigrationError, match=r"pg_dump of test_.* was killed by SIGKILL.*run it again"):
            verified_backup(database, directory=folder, scratch=server.admin)
        killer.join()
    assert killed
    assert list(folder.iterdir()) == []


def test_the_password_is_in_no_command_line(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    with_password = Database(database.url.replace("postgres@", "postgres:s3cret%40word@"))
    seen: list[list[str]] = []

    def look_and_kill(waits: Callable[[], bool]) -> None:
        wait_for(waits, "pg_dump's wait for the lock")
        child = wait_for(lambda: pg_dump_of(os.getpid()), "pg_dump")
        seen.append(child.cmdline())
        assert child.environ()["PGPASSWORD"] == "s3cret@word"
        child.kill()

    with pg_dump_held(database) as waits:
        watcher = threading.Thread(target=look_and_kill, args=(waits,))
        watcher.start()
        with pytest.raises(MigrationError) as failure:
            verified_backup(with_password, directory=folder, scratch=server.admin)
        watcher.join()
    assert "s3cret" not in f"{seen} {failure.value}"
    assert any(argument.startswith("--snapshot=") for argument in seen[0])


def test_a_killed_run_is_cleared_away_by_the_next_but_not_while_its_pg_dump_still_writes(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    command = [sys.executable, "-c", WHOLE_BACKUP, database.url, server.admin.url, str(folder)]
    with pg_dump_held(database) as waits:
        run = subprocess.Popen(command)
        wait_for(waits, "pg_dump's wait for the lock")
        orphan = wait_for(lambda: pg_dump_of(run.pid), "pg_dump")
        run.kill()
        run.wait()
        leftover = list(folder.iterdir())
        assert [path.name.endswith(".dump.partial") for path in leftover] == [True]
        backup_dump.backup_files.prepare(folder)
        assert list(folder.iterdir()) == leftover, "pg_dump outlived its parent and still holds the file"
        orphan.kill()
        psutil.wait_procs([orphan])
    made = verified_backup(database, directory=folder, scratch=server.admin)
    assert sorted(folder.iterdir()) == sorted([made.path, made.manifest])


def test_an_interrupted_run_kills_its_pg_dump_and_removes_the_file(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    command = [sys.executable, "-c", WHOLE_BACKUP, database.url, server.admin.url, str(folder)]
    with pg_dump_held(database) as waits:
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(waits, "pg_dump's wait for the lock")
        child = wait_for(lambda: pg_dump_of(run.pid), "pg_dump")
        run.send_signal(signal.SIGINT)
        run.wait(DEADLINE_SECONDS)
    psutil.wait_procs([child], timeout=DEADLINE_SECONDS)
    assert not child.is_running()
    assert list(folder.iterdir()) == []


def test_a_lock_that_is_held_too_long_is_told_and_not_queued_behind(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_dump, "LOCK_WAIT_MS", 200)
    with pg_dump_held(database), pytest.raises(BlockedError, match="another session holds one exclusively"):
        verified_backup(database, directory=folder, scratch=server.admin)
    assert list(folder.iterdir()) == []


def test_a_full_disk_tells_what_is_free_and_what_is_needed(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        noise(filled, 3)
        with pytest.raises(MigrationError, match=r"There is no room for the backup .* are free .* database has [\d,]+"):
            verified_backup(database, directory=folder, scratch=server.admin)
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_limit_on_file_sizes_is_told_like_a_full_disk(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    noise(filled, 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(MigrationError, match="There is no room for the backup"):
            verified_backup(database, directory=folder, scratch=server.admin)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(
    database: Database, server: EmbeddedServer, tmp_path: Path, filled: Connection
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MigrationError, match=r"Cannot write a backup to .*/file/backups"):
        verified_backup(database, directory=tmp_path / "file" / "backups", scratch=server.admin)


def test_a_table_that_may_not_be_read_is_named_with_the_right_to_grant(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    filled.execute("CREATE ROLE half_blind LOGIN")
    filled.execute("GRANT SELECT ON users, sources, telegram_profiles, topics, messages, atoms TO half_blind")
    filled.execute("GRANT SELECT ON topic_atoms, atom_links TO half_blind")
    try:
        source = Database(database.url.replace("postgres@", "half_blind@"))
        with pytest.raises(MigrationError, match=r"permission denied for .*elsewhere.*Grant .*pg_read_all_data"):
            verified_backup(source, directory=folder, scratch=server.admin)
    finally:
        filled.execute("DROP OWNED BY half_blind; DROP ROLE half_blind")
    assert list(folder.iterdir()) == []
