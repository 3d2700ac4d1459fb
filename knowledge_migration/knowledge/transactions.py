"""The connections of one process of the service to its database, and its transactions."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from knowledge_migration.addresses import parsed
from knowledge_migration.knowledge.errors import LEAVING, NOT_MIGRATED, NotMigratedError, UnavailableError, sqlstate
from knowledge_migration.knowledge.flags import Flags, relation_exists
from knowledge_migration.knowledge.measurements import Measurements
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.tables import topic_proposals
from knowledge_migration.session_settings import TEXT, apply_to_engine

ATTEMPTS = 4
NO_SCHEMA = "This database has no proposal schema: phase 1 of the migration has not been run here."
COLLISIONS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.ForeignKeyViolation)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class ServiceDatabase:
    """One connection pool, of the size that the options give."""

    options: ServiceOptions
    measurements: Measurements = field(default_factory=Measurements, kw_only=True)
    engine: AsyncEngine = field(init=False)
    has_proposals: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.engine = create_async_engine(
            parsed(self.options.database_url),
            pool_size=self.options.pool_size,
            max_overflow=0,
            pool_timeout=self.options.pool_timeout_seconds,
            pool_pre_ping=True,
            connect_args=self._connect_args("knowledge service"),
        )
        apply_to_engine(self.engine.sync_engine, self._session_settings)

    @property
    def _session_settings(self) -> dict[str, str]:
        return {
            **TEXT,
            "statement_timeout": str(self.options.statement_timeout_ms),
            "idle_in_transaction_session_timeout": "60s",
            "idle_session_timeout": "0",
        }

    def _connect_args(self, name: str) -> dict[str, Any]:
        return {"application_name": name, "connect_timeout": 5}

    def blocking_engine(self, name: str) -> sa.Engine:
        """For work in a thread, on connections of its own: it would hold the event loop up."""
        url = parsed(self.options.database_url)
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=self._connect_args(name))
        apply_to_engine(engine, self._session_settings)
        return engine

    async def in_transaction(
        self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs `work(connection, …)` in one transaction; up to four times where it collides with another one.

        Raises `UnavailableError` where the database, or a table that `work` needs, is not available.
        """
        with translate_db_errors():
            for attempt in range(ATTEMPTS):
                try:
                    async with self.engine.begin() as connection:
                        result = await connection.run_sync(work, *args, **kwargs)
                        with _committing():
                            await connection.commit()
                        return result
                except sa.exc.TimeoutError as error:
                    self.measurements.pool_timed_out()
                    raise UnavailableError("All connections to the database are in use. Try again later.") from error
                except sa.exc.DBAPIError as error:
                    if attempt + 1 == ATTEMPTS or not isinstance(error.orig, COLLISIONS):
                        raise
                    await asyncio.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def require_proposals(self) -> None:
        """Raises `NotMigratedError` before phase 1, without a failed statement in the log of the server."""
        self.has_proposals = self.has_proposals or await self.in_transaction(relation_exists, topic_proposals.fullname)
        if not self.has_proposals:
            raise NotMigratedError(NO_SCHEMA)

    async def following_flags(
        self, work: Callable[[sa.Connection, Flags], T], flags: Flags, *, needs_proposals: bool
    ) -> T:
        """Runs `work(connection, flags)` in one transaction; every writer goes through here.

        Without the proposal schema (its rollback may be minutes ago) the flags that were known last apply, and nothing is
        proposed. Raises `UnavailableError` as `in_transaction`, and where the work is only proposals. Work whose session
        ended is not repeated: it would be written without its proposals, or twice.
        """
        try:
            return await self.in_transaction(work, flags)
        except NotMigratedError:
            if not flags.version or needs_proposals:
                raise
            return await self.in_transaction(work, flags.model_copy(update={"version": 0}))


@contextmanager
def translate_db_errors() -> Iterator[None]:
    """Raises `UnavailableError` for a database that does not answer, `NotMigratedError`; other errors stay as they are."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        cause = error.orig
        if error.connection_invalidated or isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            raise UnavailableError("The database does not answer; nothing was written. Try again later.") from error
        if sqlstate(error) in NOT_MIGRATED:
            raise NotMigratedError(NO_SCHEMA) from error
        if sqlstate(error) == LEAVING:
            raise NotMigratedError(
                "The proposal tables are being removed: an operator is rolling phase 1 back. Nothing was written."
            ) from error
        raise


@contextmanager
def _committing() -> Iterator[None]:
    """Raises `UnavailableError` for a commit without an answer, which may have succeeded."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise UnavailableError(
            "The database did not answer the commit. The request may have taken effect: check the state before you repeat it."
        ) from error
