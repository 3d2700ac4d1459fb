"""Connections to the user's database: psycopg for the work, SQLAlchemy for Alembic and reflection.

Every session sets its `application_name`, how values are written (`session_settings`), and a timeout for idling in a
transaction. A session that a pooler shares with others is refused: locks, snapshots and settings would not be its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from knowledge_migration.addresses import parsed
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import text_of, with_literal_percents
from knowledge_migration.session_settings import APPLY, NO_TIMEOUTS, TEXT, UNCAPTURED, apply_to_engine, parameters
from knowledge_migration.value_loaders import load_every_value

Connection = psycopg.Connection[DictRow]

NOT_SO_FAR = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
"""The errors of PostgreSQL in a database in which an earlier phase has not been run."""

IDLE_IN_TRANSACTION_TIMEOUT_MINUTES = 10
ROUNDS = 3
SECRETS = ("password", "sslpassword")


class UnreachableError(MigrationError):
    """The database did not accept a connection."""


class PoolerError(UnreachableError):
    """The address is that of a pooler that gives a session of the server to each transaction."""


class _Cursor(psycopg.Cursor[DictRow]):
    """Names of the user may contain a percent sign."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> "_Cursor":
        return super().execute(query if params is None else with_literal_percents(query, self), params, **options)


class _ServerCursor(psycopg.ServerCursor[DictRow]):
    """The same for a named cursor."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> "_ServerCursor":
        return super().execute(query if params is None else with_literal_percents(query, self), params, **options)


@dataclass(frozen=True)
class Database:
    """The URL of one PostgreSQL database, and connections to it. The repr omits it because it may contain a password."""

    url: str = field(repr=False)

    @property
    def _parsed(self) -> URL:
        return parsed(self.url)

    @property
    def name(self) -> str:
        """The database's name."""
        return self._parsed.database or ""

    @property
    def conninfo(self) -> str:
        """The URL as a libpq connection string (psycopg, pg_dump); never logged because it may contain a password.

        It has keywords and values: a URL that SQLAlchemy writes contains spaces and plus signs that libpq does not read.
        """
        _, arguments = self._parsed.get_dialect()().create_connect_args(self._parsed)
        return make_conninfo("", **arguments)

    @property
    def display(self) -> str:
        """The URL without its passwords, for messages."""
        address = self._parsed.set(drivername="postgresql")
        hidden = {name: "***" for name in SECRETS if name in address.query}
        return address.update_query_dict(hidden).render_as_string(hide_password=True)

    def connect_arguments(self, purpose: str) -> dict[str, Any]:
        """The arguments of a psycopg connection; they may contain a password."""
        return {**conninfo_to_dict(self.conninfo), "application_name": f"knowledge_migration {purpose}"[:63]}

    def sibling(self, name: str) -> "Database":
        """Another database on the same server."""
        return Database(self._parsed.set(database=name).render_as_string(hide_password=False))

    def now(self) -> datetime:
        """The time on the server, whose clock dates all records."""
        with self.connect("clock") as connection:
            row = connection.execute(text_of("foundation/moment")).fetchone()
        assert row is not None  # a SELECT without FROM
        moment: datetime = row["moment"]
        return moment

    @contextmanager
    def connect(self, purpose: str = "engine", *, settings: Mapping[str, str] | None = None) -> Iterator[Connection]:
        """A session in autocommit with these server settings; raises `UnreachableError` when the server rejects it.

        Statements are never prepared: a generic plan does not know a batch's size and may read the whole table.
        """
        try:
            connection = psycopg.connect(
                **self.connect_arguments(purpose),
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                cursor_factory=_Cursor,
            )
        except psycopg.OperationalError as error:
            raise self._unreachable(error) from error
        try:
            connection.server_cursor_factory = _ServerCursor
            load_every_value(connection)
            self._apply(connection, session_settings(settings or {}))
            yield connection
        finally:
            connection.close()

    def _apply(self, connection: Connection, settings: Mapping[str, str]) -> None:
        """Sets them for the session. Raises `PoolerError` where others share it."""
        pid = connection.info.backend_pid
        row = connection.execute(APPLY, parameters(settings, pid)).fetchone()
        if row and row["pooled"] and not self.refuse_shared_sessions():
            connection.execute(APPLY, parameters(settings, pid, local=False))

    def refuse_shared_sessions(self) -> bool:
        """False where a session of ours is one of the server, also through a proxy; raises `PoolerError` otherwise."""
        if shares_sessions(self.conninfo):
            raise PoolerError(
                f"{self.display} is a pooler in transaction mode (PgBouncer, for example): it gives a session of the server to "
                "each transaction, so locks, snapshots and settings of the migration would be lost or left to the application. "
                "Nothing was changed. Name the server's own address (often port 5432); the knowledge service may use the pooler."
            )
        return False

    @contextmanager
    def engine(self, *, settings: Mapping[str, str] | None = None, pooled: bool = False) -> Iterator[sa.Engine]:
        """A SQLAlchemy engine in autocommit, for Alembic and for reflection. Its sessions raise `PoolerError` as `connect`.

        `pooled` allows a pooler, for functions of `knowledge`: their transactions keep nothing in a session.
        """
        yield _engine(self, tuple(session_settings(settings or {}).items()), pooled)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction in SQLAlchemy, for the functions of `knowledge`, also through a pooler: a rollback of flags is one.

        Committed when the block succeeds. Raises `UnreachableError` when the server rejects the connection.
        """
        with self.engine(pooled=True) as engine:
            try:
                connection = engine.execution_options(isolation_level="READ COMMITTED").connect()
            except sa.exc.OperationalError as error:
                raise self._unreachable(error.orig or error) from error
            with connection, connection.begin():
                yield connection

    def _unreachable(self, error: BaseException) -> UnreachableError:
        reason = str(error).strip()
        if "unsupported startup parameter" in reason:
            return PoolerError(
                f"Cannot connect to {self.display}: a pooler refuses the options of the address ({reason}). Name the server's "
                "own address."
            )
        return UnreachableError(
            f"Cannot connect to {self.display}: {reason}. Check that the server runs and that the address names it."
        )


@lru_cache(maxsize=8)
def _engine(database: Database, settings: tuple[tuple[str, str], ...], pooled: bool) -> sa.Engine:
    """An engine holds no connection. It is kept because it compiles each statement and asks the server's version only once."""
    address = parsed(database.url)
    engine = sa.create_engine(
        address,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"application_name": "knowledge_migration schema"},
        use_native_hstore=False,  # its OID would be that of the first database of this name
    )
    shared = {} if pooled else {"shared": database.refuse_shared_sessions}
    apply_to_engine(engine, dict(settings), **shared)
    return engine


def session_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Those of every session, with these changes."""
    idle = f"{IDLE_IN_TRANSACTION_TIMEOUT_MINUTES}min"
    return {**TEXT, **NO_TIMEOUTS, **UNCAPTURED, "idle_in_transaction_session_timeout": idle, **settings}


@cache
def shares_sessions(conninfo: str) -> bool:
    """Whether two sessions, none in a transaction, are answered by the same process of the server, or one by several."""
    with (
        psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as one,
        psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as other,
    ):
        pids = {one: set[int](), other: set[int]()}
        for session in (one, other, one) * ROUNDS:
            pids[session] |= {row[0] for row in session.execute("SELECT pg_backend_pid()")}
    return bool(pids[one] & pids[other]) or len(pids[one]) > 1 or len(pids[other]) > 1


def exists(connection: Connection, relation: str) -> bool:
    """Whether a relation with this qualified name exists."""
    row = connection.execute("SELECT to_regclass(%(relation)s) IS NOT NULL AS there", {"relation": relation}).fetchone()
    return row is not None and bool(row["there"])
