"""The dump: the whole database as an open snapshot sees it, complete, checked for its tables, and not yet a backup.

Everything is dumped, since topics and atoms are worth nothing without what they reference. pg_dump only reads, and
holds ACCESS SHARE on every table until it ends: a schema change waits for it. When it fails, nothing is left of it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from knowledge_migration.engine.backup import files as backup_files
from knowledge_migration.engine.backup import pg_tools, tool_failures
from knowledge_migration.engine.backup.archive_contents import Contents
from knowledge_migration.engine.backup.files import PartialFile
from knowledge_migration.engine.backup.pg_tools import PgTools
from knowledge_migration.engine.backup.scratch import Origin, origin_of
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.fingerprint import Fingerprint
from knowledge_migration.engine.foundation.snapshot import Snapshot

Clock = Callable[[], datetime]
Progress = Callable[[str], None]

LOCK_WAIT_MS = 60_000


def utc_now() -> datetime:
    """The time of day, where no other clock is given."""
    return datetime.now(UTC)


def silent(_: str) -> None:
    """Reports progress to nobody."""


@dataclass(frozen=True)
class PartialBackup:
    """A dump that is complete and not yet proven; `discard` it when it will not be."""

    file: PartialFile
    sha256: str
    fingerprint: Fingerprint
    origin: Origin
    tools: PgTools
    started_at: datetime
    duration_seconds: float
    warnings: tuple[str, ...]

    def discard(self) -> None:
        """Removes the file."""
        self.file.discard()


def tools_for(snapshot: Snapshot, tools_dir: Path | None = None) -> PgTools:
    """The tools for the snapshot's server, able to encrypt where its connection is encrypted; see `PgTools.find`."""
    return tools_of(snapshot.connection, tools_dir)


def tools_of(connection: Connection, tools_dir: Path | None = None) -> PgTools:
    """The tools for the server of a connection, as `tools_for`."""
    encrypted = bool(connection.pgconn.ssl_in_use)
    return PgTools.find(connection.info.server_version, tools_dir, encrypted=encrypted)


def dump(
    database: Database,
    snapshot: Snapshot,
    fingerprint: Fingerprint,
    *,
    directory: Path,
    tools: PgTools,
    clock: Clock = utc_now,
    progress: Progress = silent,
) -> PartialBackup:
    """Dumps the whole database as the open `snapshot`, under which `fingerprint` was taken, sees it.

    Holds ACCESS SHARE on every table until it ends. Raises `MigrationError` with the next step when it cannot; nothing
    is left then.
    """
    backup_files.prepare(directory)
    started = clock()
    origin = origin_of(snapshot.connection)
    file = PartialFile.create(directory, database.name, started)
    try:
        progress(f"pg_dump {tools.version} of {origin.database} ({origin.size_bytes:,} bytes) to {directory}")
        warnings = _run_pg_dump(database, snapshot, origin, file, tools, progress)
        backup_files.sync(file)
        _refuse_missing_tables(file, tools, origin, fingerprint)
        checksum = backup_files.sha256(file.path)
    except BaseException:
        file.discard()
        raise
    seconds = (clock() - started).total_seconds()
    progress(f"dumped {file.size:,} bytes in {seconds:.1f} s")
    return PartialBackup(file, checksum, fingerprint, origin, tools, started, seconds, warnings)


def _run_pg_dump(
    database: Database, snapshot: Snapshot, origin: Origin, file: PartialFile, tools: PgTools, progress: Progress
) -> tuple[str, ...]:
    command: list[str | Path] = [
        tools.pg_dump,
        "--format=custom",
        "--no-password",
        f"--snapshot={snapshot.snapshot_id}",
        f"--lock-wait-timeout={LOCK_WAIT_MS}",
        f"--file={file.path}",
        f"--dbname={pg_tools.address_argument(database)}",
    ]
    outcome = pg_tools.run(
        command,
        pg_tools.environment(database, **_server_of(database, snapshot)),
        pass_fds=(file.descriptor,),  # pg_dump shares the lock, should it outlive this process
        on_wait=lambda: progress(f"pg_dump: {file.size:,} bytes so far"),
    )
    if outcome.returncode != 0 or "pg_dump: error:" in outcome.stderr:
        written = file.size
        file.discard()
        raise tool_failures.dump_failed(outcome, origin, tools, file.path.parent, written)
    return tuple(outcome.stderr.splitlines())


def _server_of(database: Database, snapshot: Snapshot) -> dict[str, str]:
    """The one server that the snapshot is on: an address may name several, and only one knows the snapshot."""
    info = snapshot.connection.info
    server = {"host": info.host, "port": str(info.port)}
    if "hostaddr" in conninfo_to_dict(database.conninfo):
        server["hostaddr"] = info.hostaddr
    return server


def _refuse_missing_tables(file: PartialFile, tools: PgTools, origin: Origin, fingerprint: Fingerprint) -> None:
    contents = contents_of(file.path, tools, origin)
    missing = [name for name, table in fingerprint.tables.items() if not contents.has_table(table.schema, table.name)]
    if missing:
        raise VerificationError(
            f"The dump of {origin.database} does not contain {', '.join(missing)}, though pg_dump reported no error. "
            "It is removed. Grant the migration's user rights on these tables and run the backup again."
        )


def contents_of(dump: Path, tools: PgTools, origin: Origin) -> Contents:
    """The table of contents of a dump file. Raises `VerificationError` when pg_restore cannot read it."""
    outcome = pg_tools.run([tools.pg_restore, "--list", dump], os.environ)
    if outcome.returncode != 0:
        raise tool_failures.restore_failed(outcome, origin, tools)
    return Contents.listed(outcome.stdout)
