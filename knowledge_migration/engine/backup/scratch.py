"""A scratch database: created to restore a backup into, and always dropped afterwards.

Its name is the prefix of its purpose and 16 hex digits; no other database is dropped. This process keeps a session in it,
so other runs see that it is in use: the next start drops a database of that name without a session.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from knowledge_migration.engine.foundation.database import Connection, Database, UnreachableError
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement

NAME_PREFIX = "knowledge_migration_verify_"
# a restore or a comparison may take hours
UNHURRIED = {"idle_session_timeout": "0", "idle_in_transaction_session_timeout": "0", "statement_timeout": "0"}
CREATE_BY_PROVIDER = {
    "c": "backup/scratch_create_libc",
    "i": "backup/scratch_create_icu",
    "b": "backup/scratch_create_builtin",
}


@dataclass(frozen=True)
class Purpose:
    """The purpose of a scratch database: name prefix, description, and the alternative if none can be created."""

    prefix: str
    description: str
    otherwise: str


VERIFICATION = Purpose(
    NAME_PREFIX,
    "the scratch database that verifies the backup",
    "set KNOWLEDGE_MIGRATION_SCRATCH_URL to a server where it may",
)


@dataclass(frozen=True)
class Origin:
    """The properties of the source database that a scratch database shares, and its size and identity (cluster and oid)."""

    database: str
    identity: str
    server_version_num: int
    size_bytes: int
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None

    @property
    def major(self) -> int:
        """The server's major version, as 16."""
        return self.server_version_num // 10000


@dataclass(frozen=True)
class Scratch:
    """A scratch database, and the session that marks it as in use."""

    database: Database
    connection: Connection


def origin_of(connection: Connection) -> Origin:
    """The properties of the database of this connection."""
    row = connection.execute(statement("backup/backup_source")).fetchone()
    assert row is not None  # the current database is in pg_database
    return Origin(database=connection.info.dbname, server_version_num=connection.info.server_version, **row)


@contextmanager
def scratch_database(
    server: Database, origin: Origin, progress: Callable[[str], None], purpose: Purpose = VERIFICATION
) -> Iterator[Scratch]:
    """A new empty database like `origin` on `server` (its maintenance database), dropped at the end of the block.

    Raises `PreconditionError` when the server is older or the user lacks CREATEDB, `MigrationError` when the database
    cannot be created with the properties of its origin.
    """
    with server.connect("scratch") as admin:
        _refuse_older(server, admin, origin)
        drop_leftovers(admin, progress, purpose)
        name = _create(server, admin, origin, purpose)
    scratch = server.sibling(name)
    try:
        with scratch.connect("scratch", settings=UNHURRIED) as connection:
            yield Scratch(scratch, connection)
    finally:
        _drop(server, name, progress)


def drop_leftovers(admin: Connection, progress: Callable[[str], None], purpose: Purpose = VERIFICATION) -> list[str]:
    """Drops the scratch databases of killed runs; returns their names. It never touches that of a running process."""
    leftovers = admin.execute(statement("backup/scratch_leftovers"), {"prefix": purpose.prefix}).fetchall()
    dropped = []
    for name in [row["name"] for row in leftovers]:
        try:
            admin.execute(statement("backup/scratch_drop_leftover", scratch=sql.Identifier(name)))
        except (errors.ObjectInUse, errors.InsufficientPrivilege):
            continue
        progress(f"dropped {name}, the scratch database of a killed run")
        dropped.append(name)
    return dropped


def _refuse_older(server: Database, admin: Connection, origin: Origin) -> None:
    major = admin.info.server_version // 10000
    if major < origin.major:
        raise PreconditionError(
            f"The scratch server {server.display} is PostgreSQL {major}, older than the {origin.major} of "
            f"{origin.database}, and could not restore its dump. Set KNOWLEDGE_MIGRATION_SCRATCH_URL to a server of "
            f"version {origin.major}."
        )


def _create(server: Database, admin: Connection, origin: Origin, purpose: Purpose) -> str:
    named = admin.execute(statement("backup/scratch_name"), {"prefix": purpose.prefix}).fetchone()
    assert named is not None  # a SELECT without FROM has one row
    name: str = named["name"]
    try:
        admin.execute(_creation(name, origin))
    except errors.InsufficientPrivilege as error:
        raise PreconditionError(
            f"User {admin.info.user} may not create {purpose.description} on {server.display}. "
            f'Run ALTER ROLE "{admin.info.user}" CREATEDB there, or {purpose.otherwise}.'
        ) from error
    except psycopg.Error as error:
        raise MigrationError(
            f"No scratch database like {origin.database} ({origin.encoding}, {origin.locale or origin.collate}) can be "
            f"created on {server.display}: {error.diag.message_primary or error}. Free space there, or {purpose.otherwise} "
            "and that has this encoding and locale."
        ) from error
    return name


def _creation(name: str, origin: Origin) -> sql.Composed:
    like = {"encoding": origin.encoding, "collate": origin.collate, "ctype": origin.ctype}
    if origin.provider != "c":
        like["locale"] = origin.locale or ""
    literals = {key: sql.Literal(value) for key, value in like.items()}
    return statement(CREATE_BY_PROVIDER[origin.provider], scratch=sql.Identifier(name), **literals)


def _drop(server: Database, name: str, progress: Callable[[str], None]) -> None:
    """Never raises, so that the original error is kept; the next start drops a database that remains."""
    try:
        with server.connect("scratch") as admin:
            admin.execute(statement("backup/scratch_drop", scratch=sql.Identifier(name)))
    except (psycopg.Error, UnreachableError) as error:
        progress(f"could not drop scratch database {name} ({error}); the next backup drops it")
