"""The resource of the assets: this installation. Everything comes from the settings (see `settings.py`)."""

from datetime import datetime
from functools import cached_property

import dagster as dg

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.installation import Installation
from knowledge_migration.settings import Settings, load_settings


class Migration(dg.ConfigurableResource):
    """The database to migrate and its settings, read once per run."""

    @cached_property
    def installation(self) -> Installation:
        """The settings with their connections, directories and options."""
        return Installation(load_settings())

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
