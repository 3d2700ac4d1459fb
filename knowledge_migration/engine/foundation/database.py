"""Connections to the user's database: psycopg for the work, SQLAlchemy for Alembic and reflection.

Every session sets its `application_name`, how values are written (`session_settings`), and a timeout for idling in a
transaction.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.session_settings import NO_TIMEOUTS, PUBLIC_FIRST, SINCE_17, TEXT, as_options, begin_in_public

Connection = psycopg.Connection[DictRow]

NOT_SO_FAR = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
"""The errors of PostgreSQL in a database in which an earlier phase has not been run."""

IDLE_IN_TRANSACTION_TIMEOUT_MINUTES = 10
FIRST_WITH_TRANSACTION_TIMEOUT = 170_000
SECRETS = ("password", "sslpassword")


class UnreachableError(MigrationError):
    """The database did not accept a connection."""


@dataclass(frozen=True)
class Database:
    """The URL of one PostgreSQL database, and connections to it. The repr omits it because it may contain a password."""

    url: str = field(repr=False)

    @property
    def _parsed(self) -> URL:
        return make_url(self.url)

    @property
    def name(self) -> str:
        """The database's name."""
        return self._parsed.database or ""

    @property
    def conninfo(self) -> str:
        """The URL as a libpq connection string (psycopg, pg_dump); never logged because it may contain a password.

        It has keywords and values: a URL that SQLAlchemy writes contains spaces and plus signs that libpq does not read.
        """
        driver = self._parsed.set(drivername="postgresql+psycopg")
        _, parameters = driver.get_dialect()().create_connect_args(driver)
        return make_conninfo("", **parameters)

    @property
    def display(self) -> str:
        """The URL without its passwords, for messages."""
        parsed = self._parsed.set(drivername="postgresql")
        hidden = {name: "***" for name in SECRETS if name in parsed.query}
        return parsed.update_query_dict(hidden).render_as_string(hide_password=True)

    def connect_arguments(self, purpose: str, settings: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of a psycopg connection with these server settings; they may contain a password."""
        return {
            **conninfo_to_dict(self.conninfo),
            "application_name": f"knowledge_migration {purpose}"[:63],
            "options": self._session_options(settings),
        }

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
                self.conninfo,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                application_name=f"knowledge_migration {purpose}"[:63],
                options=self._session_options(settings or {}),
            )
        except psycopg.OperationalError as error:
            raise UnreachableError(
                f"Cannot connect to {self.display}: {str(error).strip()}. "
                "Check that the server runs and that KNOWLEDGE_MIGRATION_DATABASE_URL names it."
            ) from error
        try:
            connection.execute(PUBLIC_FIRST)
            if connection.info.server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:
                for name, value in SINCE_17.items():
                    connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            yield connection
        finally:
            connection.close()

    @contextmanager
    def engine(self, *, settings: Mapping[str, str] | None = None) -> Iterator[sa.Engine]:
        """A SQLAlchemy engine in autocommit, for Alembic and for reflection."""
        engine = sa.create_engine(
            self._parsed.set(drivername="postgresql+psycopg"),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "application_name": "knowledge_migration schema",
                "options": self._session_options(settings or {}),
            },
        )
        sa.event.listen(engine, "connect", begin_in_public)
        try:
            yield engine
        finally:
            engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction in SQLAlchemy, for the functions of `knowledge`; committed when the block succeeds.

        Raises `UnreachableError` when the server rejects the connection.
        """
        with self.engine() as engine:
            try:
                connection = engine.execution_options(isolation_level="READ COMMITTED").connect()
            except sa.exc.OperationalError as error:
                raise UnreachableError(f"Cannot connect to {self.display}: {str(error.orig).strip()}.") from error
            with connection, connection.begin():
                yield connection

    def _session_options(self, settings: Mapping[str, str]) -> str:
        """The options of the URL (a role, a search_path), then ours."""
        all_settings = {
            **TEXT,
            **NO_TIMEOUTS,
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_MINUTES}min",
            **settings,
        }
        given = self._parsed.normalized_query.get("options", ())
        return " ".join([*given, as_options(all_settings)])


def exists(connection: Connection, relation: str) -> bool:
    """Whether a relation with this qualified name exists."""
    row = connection.execute("SELECT to_regclass(%(relation)s) IS NOT NULL AS there", {"relation": relation}).fetchone()
    return row is not None and bool(row["there"])
