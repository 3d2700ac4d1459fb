"""What the assets work with: the environment of this installation, read once per process."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import dagster as dg

from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.database import Database
from knowledge_migration.engine.preparation.preflight import PreflightContext
from knowledge_migration.engine.schema.ddl import LockLimits
from knowledge_migration.environment import Environment, environment
from knowledge_migration.settings import Settings, current_settings


class Migration(dg.ConfigurableResource):
    """The database under migration and all limits. Everything comes from the settings (see `settings.py`)."""

    @cached_property
    def environment(self) -> Environment:
        """Addresses and directories."""
        return environment(current_settings())

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.environment.settings

    @property
    def database(self) -> Database:
        """The database under migration."""
        return self.environment.database

    @contextmanager
    def preflight(self) -> Iterator[PreflightContext]:
        """What the preflight checks look at, with a session of its own."""
        with self.database.connect("preflight") as connection:
            yield PreflightContext(
                database=self.database,
                connection=connection,
                backup_directory=self.environment.backups,
                scratch_is_elsewhere=self.settings.knowledge_migration_scratch_url is not None,
                long_transaction_seconds=self.settings.long_transaction_seconds,
            )

    @property
    def lock_limits(self) -> LockLimits:
        """How the schema phase may wait."""
        return lock_limits(self.settings)

    @property
    def backfill_limits(self) -> Limits:
        """How the backfill may run."""
        return backfill_limits(self.settings)


def lock_limits(settings: Settings) -> LockLimits:
    """The lock limits that the settings name."""
    return LockLimits(
        lock_timeout_ms=settings.ddl_lock_timeout_ms,
        attempts=settings.ddl_lock_attempts,
        retry_max_seconds=settings.ddl_retry_max_seconds,
        blocker_age_seconds=settings.ddl_blocker_age_seconds,
        index_build_timeout_minutes=settings.index_build_timeout_minutes,
    )


def backfill_limits(settings: Settings) -> Limits:
    """The backfill limits that the settings name."""
    return Limits(
        batch_size=settings.migration_batch_size,
        rate_limit_per_second=settings.migration_rate_limit_per_second,
        statement_timeout_ms=settings.migration_statement_timeout_ms,
        lock_timeout_ms=settings.migration_lock_timeout_ms,
        retry_attempts=settings.migration_retry_attempts,
    )
