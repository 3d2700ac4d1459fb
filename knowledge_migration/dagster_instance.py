"""The places of Dagster's own data, as dagster.yaml names them: taken from the settings, so no variable has to be set first.

The storage starts the embedded server where KNOWLEDGE_MIGRATION_DAGSTER_URL names no database.
"""

from typing import Any, Self

from dagster import Field
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from knowledge_migration.installation import Installation
from knowledge_migration.settings import load_settings


class _WithoutConfig:
    """A configurable class whose configuration is the settings."""

    @classmethod
    def config_type(cls) -> dict[str, Field]:
        """Nothing is configured in dagster.yaml."""
        return {}


class ProjectStorage(_WithoutConfig, DagsterPostgresStorage):
    """Runs, events and schedules, in a database of their own."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage in the database that the settings name."""
        return cls(Installation(load_settings()).dagster_storage_url, inst_data=inst_data)


class ProjectArtifacts(_WithoutConfig, LocalArtifactStorage):
    """Files of runs, under the home directory."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The directory that the settings name."""
        return cls(str(Installation(load_settings()).dagster_files), inst_data=inst_data)


class ProjectComputeLogs(_WithoutConfig, LocalComputeLogManager):
    """Output of runs, under the home directory."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The directory that the settings name."""
        return cls(str(Installation(load_settings()).dagster_files), inst_data=inst_data)
