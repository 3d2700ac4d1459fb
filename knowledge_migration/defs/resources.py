"""The resource of the assets: this installation. Everything comes from the settings (see `settings.py`)."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

import dagster as dg
import dagster._loggers
from pydantic import Field, PrivateAttr

from knowledge_migration import telemetry
from knowledge_migration.defs import reporting
from knowledge_migration.defs.attributes import phase_of
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

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Migration"]:
        """Takes the id of the run, which check records, log records and spans name; a run is one span."""
        run = context.run
        if run is None:
            yield self
            return
        self._run_id = run.run_id
        job = run.job_name if not run.job_name.startswith("__") else "materialize"
        partition = run.tags.get("dagster/partition")
        try:
            with telemetry.in_progress(job, run_id=run.run_id, phase=phase_of(run), job=job, partition=partition):
                yield self
                if telemetry.is_tracing() and _has_failed_step(context.instance, run.run_id):
                    telemetry.mark_failed()  # Dagster makes an event of the exception of a step
        finally:
            telemetry.flush()

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


def _has_failed_step(instance: dg.DagsterInstance | None, run_id: str) -> bool:
    failures = (
        instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1) if instance else None
    )
    return failures is not None and bool(failures.records)


@dg.logger({"log_level": dg.Field(str, default_value="INFO"), "name": dg.Field(str, default_value="dagster")})
def json_lines(context: dg.InitLoggerContext) -> logging.Logger:
    """The console of a run where KNOWLEDGE_MIGRATION_LOG_FORMAT is json."""
    logger = logging.Logger(context.logger_config["name"], context.logger_config["log_level"])
    logger.addHandler(telemetry.json_handler())
    return logger


@dg.definitions
def resources() -> dg.Definitions:
    """The resource, the executor and the console of every job; starts what is observed of this process."""
    settings = load_settings()
    telemetry.start(settings)
    loggers = {}
    if settings.installation.log_format == "json":
        loggers = {"console": json_lines}
        dagster._loggers.colored_console_logger = json_lines  # a run whose configuration names no logger takes no other
    # the heavy work is SQL in the server; a process per step would cost 2-3 s each and gain nothing
    return dg.Definitions(
        resources={"migration": Migration()},
        executor=dg.in_process_executor,
        loggers=loggers,
    )
