"""Dumps the whole database as an open snapshot sees it, and reads the table of contents of a dump.

pg_dump only reads, and holds ACCESS SHARE on every table until it ends: a schema change waits for it. A dump that fails
leaves no file. A dump is a backup only after `verification` has restored and compared it.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from knowledge_migration.engine.backup import files as backup_files
from knowledge_migration.engine.backup import pg_tools, tool_failures
from knowledge_migration.engine.backup.files import PartialFile
from knowledge_migration.engine.backup.location import sha256
from knowledge_migration.engine.backup.pg_tools import PgTools
from knowledge_migration.engine.backup.scratch import Origin, origin_of
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.fingerprint import Fingerprint
from knowledge_migration.engine.foundation.snapshot import Snapshot

Clock = Callable[[], datetime]
Progress = Callable[[str], None]

LOCK_WAIT_MS = 60_000

ENTRY = re.compile(r"^\d+; \d+ \d+ (?P<what>.*)$")

# They hold no row. Restored, some would reach out of the scratch database (subscriptions, publications), some would run
# the user's code in it (event triggers, materialized views), the rest need roles that the scratch server may not have.
LEFT_OUT = (
    "ACL ",
    "COMMENT ",
    "DEFAULT ACL ",
    "EVENT TRIGGER ",
    "MATERIALIZED VIEW DATA ",
    "POLICY ",
    "PUBLICATION ",
    "ROW SECURITY ",
    "SECURITY LABEL ",
    "SUBSCRIPTION ",
)


def utc_now() -> datetime:
    """The current time, the default clock."""
    return datetime.now(UTC)


def silent(_: str) -> None:
    """Ignores progress."""


@dataclass(frozen=True)
class Contents:
    """The entries of an archive, as pg_restore lists them."""

    lines: tuple[str, ...]

    @classmethod
    def listed(cls, text: str) -> "Contents":
        """The contents from the output of `pg_restore --list`."""
        return cls(tuple(line for line in text.splitlines() if ENTRY.match(line)))

    def has_table(self, schema: str, name: str) -> bool:
        """Whether the definition of this table is in the archive."""
        wanted = f"TABLE {schema} {name} "  # the owner follows
        return any(_what(line).startswith(wanted) for line in self.lines)

    @property
    def restored(self) -> str:
        """The list for `pg_restore --use-list`: all entries except `LEFT_OUT`."""
        return "".join(f"{line}\n" for line in self.lines if not _what(line).startswith(LEFT_OUT))

    @property
    def without_rows(self) -> str:
        """The same without the rows of tables and large objects; the positions of the sequences stay."""
        rows = ("TABLE DATA ", "BLOB", *LEFT_OUT)
        return "".join(f"{line}\n" for line in self.lines if not _what(line).startswith(rows))


@dataclass(frozen=True)
class PartialBackup:
    """A complete dump that is not verified yet; `discard` removes it."""

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
        checksum = sha256(file.path)
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


def _what(line: str) -> str:
    matched = ENTRY.match(line)
    return matched["what"] if matched else ""
