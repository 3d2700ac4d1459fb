"""The resource of the assets: this installation. Everything comes from the settings (see `settings.py`)."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from knowledge_migration.defs import reporting
from knowledge_migration.engine.foundation import check_record
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.installation import Installation
from knowledge_migration.settings import Settings, load_settings


class Migration(dg.ConfigurableResource):
    """The database to migrate and its settings, read once per run."""

    _run_id: str | None = PrivateAttr(default=None)

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

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Takes the id of the run, which check records name."""
        self._run_id = context.run.run_id if context.run else None

    def check_result(
        self, outcome: CheckOutcome, *, asset: str, warns: bool = False, shows: Mapping[str, Any] | None = None
    ) -> dg.AssetCheckResult:
        """An outcome as a check result of the asset, recorded in the database; `shows` is further metadata."""
        return self.recorded(asset, reporting.check_result(outcome, asset=asset, warns=warns, shows=shows))[0]

    def recorded(self, asset: str, *results: dg.AssetCheckResult) -> list[dg.AssetCheckResult]:
        """Records check results in the database, where status, criteria and promotions read them."""
        records = [
            CheckRecord(
                str(result.check_name),
                result.passed,
                None,
                result.description or "",
                result.severity == dg.AssetCheckSeverity.WARN,
                asset,
            )
            for result in results
        ]
        with reporting.as_dagster_failure(), self.database.connect("check record") as connection:
            check_record.record(connection, records, dagster_run_id=self._run_id)
        return list(results)

    def now(self) -> datetime:
        """The time of day on the server; tests replace it."""
        return self.database.now()


@dg.definitions
def resources() -> dg.Definitions:
    """The resource and the executor of every job."""
    # the heavy work is SQL in the server; a process per step would cost 2-3 s each and gain nothing
    return dg.Definitions(resources={"migration": Migration()}, executor=dg.in_process_executor)
