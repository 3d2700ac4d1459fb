"""How the migration reaches the user's database: psycopg for the work, SQLAlchemy for Alembic and reflection.

Every session names itself (`application_name`), keeps the time zone UTC, and ends when it idles in a transaction.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa
from psycopg.rows import DictRow, dict_row
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from knowledge_migration.engine.errors import MigrationError

Connection = psycopg.Connection[DictRow]

IDLE_IN_TRANSACTION_TIMEOUT_MINUTES = 10


class UnreachableError(MigrationError):
    """The database did not accept a connection."""


@dataclass(frozen=True)
class Database:
    """The address of one PostgreSQL database, and the ways in."""

    url: str

    @property
    def _parsed(self) -> URL:
        return make_url(self.url)

    @property
    def name(self) -> str:
        """The database's name."""
        return self._parsed.database or ""

    @property
    def conninfo(self) -> str:
        """The address as libpq reads it (psycopg, pg_dump); it may hold a password, so it is never logged."""
        parsed = self._parsed.set(drivername="postgresql")
        return parsed.render_as_string(hide_password=False)

    @property
    def display(self) -> str:
        """The address without its password, for messages."""
        return self._parsed.set(drivername="postgresql").render_as_string(hide_password=True)

    def sibling(self, name: str) -> "Database":
        """Another database on the same server."""
        return Database(self._parsed.set(database=name).render_as_string(hide_password=False))

    @contextmanager
    def connect(self, purpose: str = "engine", *, settings: Mapping[str, str] | None = None) -> Iterator[Connection]:
        """A session of our own with these server settings; in autocommit, so that each transaction is written out.

        Raises `UnreachableError` with the address when the server does not accept it.
        """
        try:
            connection = psycopg.connect(
                self.conninfo,
                autocommit=True,
                row_factory=dict_row,
                application_name=f"knowledge_migration {purpose}"[:63],
                options=_session_options(settings or {}),
            )
        except psycopg.OperationalError as error:
            raise UnreachableError(
                f"Cannot connect to {self.display}: {str(error).strip()}. "
                "Check that the server runs and KNOWLEDGE_MIGRATION_DATABASE_URL names it."
            ) from error
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def engine(self) -> Iterator[sa.Engine]:
        """A SQLAlchemy engine in autocommit, for Alembic and for reflection."""
        url = self._parsed.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "knowledge_migration schema", "options": _session_options({})},
        )
        try:
            yield engine
        finally:
            engine.dispose()


def _session_options(settings: Mapping[str, str]) -> str:
    all_settings = {
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_MINUTES}min",
        **settings,
    }
    return " ".join(f"-c {name}={value}" for name, value in all_settings.items())
