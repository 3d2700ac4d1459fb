"""What the assets work with: the environment of this installation, read once per process."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property

import dagster as dg

from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.cutover.readiness import CutoverRules
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.observability.alerts import Alerts
from knowledge_migration.engine.preparation.preflight import PreflightContext
from knowledge_migration.engine.rehearsal.drill import DrillOptions
from knowledge_migration.engine.rehearsal.plan import Plan, present_plan
from knowledge_migration.engine.rehearsal.rehearsal import require_rehearsed
from knowledge_migration.engine.rehearsal.staging_run import StagingRunOptions
from knowledge_migration.engine.rollback.full import FullRollbackOptions
from knowledge_migration.engine.rollback.guard import GuardRules
from knowledge_migration.engine.schema.ddl import LockLimits
from knowledge_migration.engine.validation.criteria.facts import CriteriaRules
from knowledge_migration.engine.validation.functional import require_allowed
from knowledge_migration.engine.validation.performance.pages import PageLatency, measure_pages
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration.installation import Environment, environment, extractor, initial_flags, service_options
from knowledge_migration.knowledge.extraction.model import Extractor
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.writers import FenceTimeouts
from knowledge_migration.quality.validation import ValidationOptions
from knowledge_migration.settings import Settings, SettingsError, current_settings


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

    @cached_property
    def initial_flags(self) -> Flags:
        """The flags that the environment says, until somebody sets one."""
        return initial_flags(self.settings)

    @cached_property
    def extractor(self) -> Extractor:
        """The extractor of the service."""
        return extractor(self.settings)

    @property
    def service_options(self) -> ServiceOptions:
        """The options of the service on this database."""
        return service_options(self.settings, self.database)

    @property
    def service_address(self) -> ServiceAddress:
        """Where the service answers; raises `PreconditionError` where no setting says it."""
        return service_address(self.settings)

    @property
    def fence_timeouts(self) -> FenceTimeouts:
        """How long the fence of dual write may wait."""
        return fence_timeouts(self.settings)

    @property
    def alerts(self) -> Alerts:
        """The channels that people are told through."""
        return alerts_of(self.settings)

    @property
    def drill_options(self) -> DrillOptions:
        """Where and how the drill works."""
        return drill_options(self.environment)

    @cached_property
    def plan(self) -> Plan:
        """What this process would execute."""
        return present_plan_of(self.settings)

    def require_rehearsed(self, phase: str, dagster_run_id: str) -> None:
        """Raises `PreconditionError` unless this very plan was rehearsed, or a reason is given to go on without."""
        require_rehearsed(
            self.database,
            self.plan,
            phase,
            skip_rehearsal_reason=self.settings.knowledge_migration_skip_rehearsal_reason,
            dagster_run_id=dagster_run_id,
        )

    def full_rollback_options(self, *, restore_missing: bool = False) -> FullRollbackOptions:
        """What the steps of the full rollback need."""
        return full_rollback_options(self.environment, restore_missing=restore_missing)

    @property
    def cutover_rules(self) -> CutoverRules:
        """What a promotion needs."""
        return cutover_rules(self.settings)

    @property
    def guard_rules(self) -> GuardRules:
        """What the rollback guard may do."""
        return GuardRules(self.settings.guard_threshold_floor, self.settings.guard_relief_minutes)

    @property
    def quality_options(self) -> ValidationOptions:
        """How a quality validation runs."""
        return ValidationOptions(
            directory=self.settings.home / "data_docs",
            kept=self.settings.quality_docs_kept,
            your_suites=self.settings.knowledge_migration_suites,
            sample=self.settings.knowledge_migration_rules_sample,
            statement_timeout_seconds=self.settings.quality_statement_timeout_seconds,
        )

    def now(self) -> datetime:
        """The time of day on the server; tests put another one in its place."""
        return self.database.now()

    @property
    def backfill_limits(self) -> Limits:
        """How the backfill may run."""
        return backfill_limits(self.settings)

    def measured_pages(self) -> tuple[PageLatency, ...]:
        """How long the pages of BASELINE_URLS take now."""
        settings = self.settings
        token = settings.baseline_bearer_token
        return measure_pages(
            [url.get_secret_value() for url in settings.baseline_urls],
            samples=settings.baseline_samples,
            bearer_token=token.get_secret_value() if token else None,
        )


def lock_limits(settings: Settings) -> LockLimits:
    """The lock limits that the settings name."""
    return LockLimits(
        lock_timeout_ms=settings.ddl_lock_timeout_ms,
        attempts=settings.ddl_lock_attempts,
        retry_max_seconds=settings.ddl_retry_max_seconds,
        blocker_age_seconds=settings.ddl_blocker_age_seconds,
        index_build_timeout_minutes=settings.index_build_timeout_minutes,
    )


def fence_timeouts(settings: Settings) -> FenceTimeouts:
    """The timeouts that the settings name."""
    return FenceTimeouts(seconds=settings.dual_write_fence_seconds, live_seconds=settings.writer_live_seconds)


def service_address(settings: Settings) -> ServiceAddress:
    """Where the service answers, with the token that it asks for; raises `PreconditionError` where no setting says it."""
    if settings.knowledge_service_url is None:
        raise PreconditionError(
            "KNOWLEDGE_SERVICE_URL does not say where the knowledge service answers (http://host:port). Start it with "
            "knowledge-migration serve and set the variable."
        )
    token = settings.knowledge_api_admin_token or settings.knowledge_api_reviewer_token
    return ServiceAddress(settings.knowledge_service_url, token.get_secret_value() if token else None)


def require_functional_validation_allowed(settings: Settings) -> None:
    """Raises `PreconditionError` where users would see the rows of a functional validation and nobody has allowed that."""
    require_allowed(
        allowed=settings.functional_validation_allowed,
        is_demonstration=settings.uses_demonstration,
        setting="FUNCTIONAL_VALIDATION_ALLOWED",
        what="The functional validation",
    )


def require_load_test_allowed(settings: Settings) -> None:
    """Raises `PreconditionError` where users would feel a load test and nobody has allowed that."""
    require_allowed(
        allowed=settings.load_test_allowed,
        is_demonstration=settings.uses_demonstration,
        setting="LOAD_TEST_ALLOWED",
        what="The load test",
    )


def alerts_of(settings: Settings) -> Alerts:
    """The channels that the settings name."""
    return Alerts(tuple(url.get_secret_value() for url in settings.knowledge_migration_alert_urls))


def refuse_unusable_channels(settings: Settings) -> None:
    """Raises `SettingsError` that names the place of each URL that apprise cannot use, never its content."""
    places = alerts_of(settings).unusable_places()
    if places:
        raise SettingsError(
            f"KNOWLEDGE_MIGRATION_ALERT_URLS holds no usable address at place {', '.join(map(str, places))}. See the "
            "notation of apprise for each channel, for example mailtos://user:password@example.com."
        )


PLANNED = (
    "migration_batch_size",
    "migration_partition_ids",
    "migration_max_partitions",
    "migration_statement_timeout_ms",
    "migration_lock_timeout_ms",
    "ddl_lock_timeout_ms",
    "ddl_lock_attempts",
    "knowledge_direct_threshold",
    "fingerprint_range_ids",
)
"""The settings that change what is executed; how fast, and where, may differ from the rehearsal."""


def present_plan_of(settings: Settings) -> Plan:
    """The plan that these settings amount to."""
    return present_plan({name: getattr(settings, name) for name in PLANNED})


def drill_options(env: Environment) -> DrillOptions:
    """Where the clone of a drill is made; its service extracts with the local extractor, which costs nothing."""
    from knowledge_migration.knowledge.extraction.local import LocalExtractor

    return DrillOptions(
        scratch=env.scratch,
        extractor=LocalExtractor(),
        tools_dir=env.settings.knowledge_migration_pg_bin,
        run=StagingRunOptions(env.settings.migration_batch_size, lock_limits(env.settings)),
    )


def full_rollback_options(env: Environment, *, restore_missing: bool) -> FullRollbackOptions:
    """What the settings say about the steps of the full rollback."""
    return FullRollbackOptions(
        initial_flags=initial_flags(env.settings),
        directory=env.exports,
        scratch=env.scratch,
        tools_dir=env.settings.knowledge_migration_pg_bin,
        timeouts=fence_timeouts(env.settings),
        lock_limits=lock_limits(env.settings),
        limits=backfill_limits(env.settings),
        restore_missing=restore_missing,
    )


def cutover_rules(settings: Settings) -> CutoverRules:
    """The rules of the cutover that the settings name."""
    return CutoverRules(
        gates=settings.gates,
        bake_minutes=settings.bake_minutes,
        spacing_seconds=settings.cutover_evaluation_seconds,
        check_max_age_minutes=settings.cutover_check_max_age_minutes,
        backup_max_age_hours=settings.backup_max_age_hours,
        drill_max_age_days=settings.drill_max_age_days,
        rollback_window_hours=settings.cutover_rollback_window_hours,
        live_seconds=settings.writer_live_seconds,
        direct_threshold=settings.knowledge_direct_threshold,
    )


def criteria_rules(settings: Settings) -> CriteriaRules:
    """The limits of the success criteria."""
    return CriteriaRules(
        gates=settings.gates,
        direct_threshold=settings.knowledge_direct_threshold,
        drill_max_age_days=settings.drill_max_age_days,
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
