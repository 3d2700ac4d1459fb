"""The resource of the assets: this installation. Everything comes from the settings (see `settings.py`)."""

from datetime import datetime
from functools import cached_property
from typing import Any

import dagster as dg
from pydantic import Field

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.installation import Installation
from knowledge_migration.settings import Settings, load_settings


class Migration(dg.ConfigurableResource):
    """The database to migrate and its settings, read once per run."""

    variables: dict[str, Any] = Field(
        default={},
        description="Settings by variable, with precedence over the environment; for example `{migration_batch_size: 50}`.",
    )

    @cached_property
    def installation(self) -> Installation:
        """The settings with their connections, directories and options."""
        return Installation(load_settings(**{name.lower(): value for name, value in self.variables.items()}))

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.installation.settings

    @property
    def database(self) -> Database:
        """The database to migrate."""
        return self.installation.database

    def now(self) -> datetime:
        """The time of day on the server; tests replace it."""
        return self.database.now()


@dg.definitions
def resources() -> dg.Definitions:
    """The resource and the executor of every job."""
    # the heavy work is SQL in the server; a process per step would cost 2-3 s each and gain nothing
    return dg.Definitions(resources={"migration": Migration()}, executor=dg.in_process_executor)
