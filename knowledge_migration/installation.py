"""One installation: the settings as connections, directories and options, for Dagster and the commands alike.

Starts the embedded server where it is needed: for Dagster's own tables unless a database for them is named, and for the
demonstration when no database to migrate is named. Imports what a method needs in the method, so that a rollback is quick.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from knowledge_migration.addresses import parsed
from knowledge_migration.engine.foundation.audit import name_operator
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import Settings, SettingsError

if TYPE_CHECKING:
    from knowledge_migration.engine.backup.location import BackupFolder
    from knowledge_migration.engine.observability.alerts import Alerts
    from knowledge_migration.engine.preparation.preflight import PreflightContext
    from knowledge_migration.engine.rehearsal.drill import DrillOptions
    from knowledge_migration.engine.rehearsal.plan import Plan
    from knowledge_migration.engine.rollback.full import FullRollbackOptions
    from knowledge_migration.engine.validation.criteria.facts import Facts
    from knowledge_migration.engine.validation.performance.pages import PageLatency
    from knowledge_migration.engine.validation.service import ServiceAddress
    from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
    from knowledge_migration.knowledge.extraction.model import Extractor
    from knowledge_migration.knowledge.options import ServiceOptions

DEMONSTRATION_DATABASE = "tasktracker"
DAGSTER_DATABASE = "dagster"


@dataclass(frozen=True)
class Installation:
    """The settings of one installation and what they name."""

    settings: Settings

    def __post_init__(self) -> None:
        """The audit log names the operator of the settings, whatever this process does."""
        name_operator(self.settings.installation.operator)

    @cached_property
    def database(self) -> Database:
        """The database to migrate; starts the embedded server when the demonstration is meant."""
        return _named(self.settings.installation.database_url) or _embedded(self.settings, DEMONSTRATION_DATABASE)

    @cached_property
    def scratch(self) -> Database:
        """The server on which scratch databases are created."""
        return _named(self.settings.installation.scratch_url) or self.database.sibling("postgres")

    @property
    def backups(self) -> "BackupFolder":
        """Where the backups are written and kept."""
        from knowledge_migration.engine.backup.location import BackupFolder

        return BackupFolder.named(self.settings.installation.backups, self.settings.home / "backups")

    @property
    def exports(self) -> Path:
        """The directory for rows that are saved before a command changes or removes them."""
        return self.settings.home / "exports"

    @property
    def initial_flags(self) -> Flags:
        """The flags of the environment variables, until someone sets one."""
        return Flags(**dict(self.settings.flags))

    def service_options(self, *, allow_faults: bool = False, announced_url: str | None = None) -> "ServiceOptions":
        """The options of a service process on this database."""
        from knowledge_migration.knowledge.options import ServiceOptions

        return ServiceOptions(
            **dict(self.settings.service),
            database_url=self.database.url,
            initial_flags=self.initial_flags,
            allow_faults=allow_faults,
            announced_url=announced_url,
            name_vectors=self.name_vectors,
        )

    @property
    def name_vectors(self) -> Path:
        """The directory where vectors of names are kept: 100,000 names take minutes to compute."""
        return self.settings.home / "name_vectors"

    def finder(self) -> "DuplicateFinder":
        """The search for duplicates as the service makes it; raises `SettingsError` for a model that cannot be used."""
        from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder

        return DuplicateFinder.with_model(self.settings.service.semantic_model, self.name_vectors)

    @cached_property
    def extractor(self) -> "Extractor":
        """The extractor of the service; raises `SettingsError` for a language model without a name."""
        chosen = self.settings.extractor
        if chosen.provider == "local":
            from knowledge_migration.knowledge.extraction.local import LocalExtractor

            return LocalExtractor()
        from knowledge_migration.knowledge.extraction.llm import LLMExtractor

        if not chosen.model:
            raise SettingsError(f"KNOWLEDGE_EXTRACTOR is {chosen.provider}, so KNOWLEDGE_LLM_MODEL must name a model.")
        return LLMExtractor(
            provider=chosen.provider,
            model=chosen.model,
            base_url=chosen.base_url,
            api_key=_secret(chosen.api_key),
            timeout_seconds=chosen.timeout_seconds,
        )

    @property
    def service_address(self) -> "ServiceAddress":
        """Where the service answers, with its token; raises `PreconditionError` where none is known."""
        address = self.known_service_address
        if address is None:
            raise PreconditionError(
                "No process of the knowledge service announces its address, and KNOWLEDGE_SERVICE_URL is not set. Start it "
                "with knowledge-migration serve, or set the variable (http://host:port)."
            )
        return address

    @property
    def known_service_address(self) -> "ServiceAddress | None":
        """Where the service answers: KNOWLEDGE_SERVICE_URL, or what a live process announces in its heartbeat."""
        from knowledge_migration.engine.validation.service import ServiceAddress, announced_url

        service = self.settings.service
        url = service.url
        if url is None:
            with self.database.connect("service address") as connection:
                url = announced_url(connection, service.live_seconds)
        return ServiceAddress(url, service.token) if url else None

    def require_functional_validation_allowed(self) -> None:
        """Raises `PreconditionError` where users would see its rows and nobody has allowed that."""
        allowed = self.settings.validation.functional_allowed
        self._require_allowed(allowed, "FUNCTIONAL_VALIDATION_ALLOWED", "The functional validation")

    def require_load_test_allowed(self) -> None:
        """Raises `PreconditionError` where users would notice the load and nobody has allowed that."""
        self._require_allowed(self.settings.validation.load_test_allowed, "LOAD_TEST_ALLOWED", "The load test")

    def _require_allowed(self, allowed: bool, setting: str, what: str) -> None:
        from knowledge_migration.engine.validation.functional import require_allowed

        require_allowed(allowed=allowed, is_demonstration=self.settings.uses_demonstration, setting=setting, what=what)

    @property
    def alerts(self) -> "Alerts":
        """The channels of the alerts."""
        from knowledge_migration.engine.observability.alerts import Alerts

        return Alerts(tuple(url.get_secret_value() for url in self.settings.installation.alert_urls))

    def refuse_unusable_channels(self) -> None:
        """Raises `SettingsError` that names the place of each URL that apprise cannot use, never its content."""
        places = self.alerts.unusable_places()
        if places:
            raise SettingsError(
                f"KNOWLEDGE_MIGRATION_ALERT_URLS holds no usable address at place {', '.join(map(str, places))}. See the "
                "notation of apprise for each channel, for example mailtos://user:password@example.com."
            )

    @cached_property
    def plan(self) -> "Plan":
        """The plan that this process would execute."""
        from knowledge_migration.engine.rehearsal.plan import present_plan

        return present_plan(self.settings.plan)

    def require_rehearsed(self, phase: str, dagster_run_id: str) -> None:
        """Raises `PreconditionError` unless this plan was rehearsed, or a reason is given to skip the rehearsal."""
        from knowledge_migration.engine.rehearsal.rehearsal import require_rehearsed

        require_rehearsed(
            self.database,
            self.plan,
            phase,
            skip_rehearsal_reason=self.settings.rehearsal.skip_reason,
            dagster_run_id=dagster_run_id,
        )

    @property
    def drill_options(self) -> "DrillOptions":
        """How a drill works; its service extracts with the local extractor, which costs nothing."""
        from knowledge_migration.engine.rehearsal.drill import DrillOptions
        from knowledge_migration.knowledge.extraction.local import LocalExtractor

        return DrillOptions(self.scratch, LocalExtractor(), self.settings)

    def full_rollback_options(self, *, restore_missing: bool) -> "FullRollbackOptions":
        """What the steps of the full rollback need."""
        from knowledge_migration.engine.rollback.full import FullRollbackOptions

        return FullRollbackOptions(self.initial_flags, self.exports, self.scratch, self.settings, restore_missing)

    @contextmanager
    def preflight(self) -> Iterator["PreflightContext"]:
        """What the preflight checks read, with a session of its own."""
        from knowledge_migration.engine.preparation.preflight import PreflightContext

        with self.database.connect("preflight") as connection:
            yield PreflightContext(
                database=self.database,
                connection=connection,
                backup_directory=self.backups.directory,
                scratch=self.scratch,
                long_transaction_seconds=self.settings.preparation.long_transaction_seconds,
                subscribers_ready=self.settings.preparation.subscribers_ready,
            )

    @contextmanager
    def criteria_facts(self) -> Iterator["Facts"]:
        """What the criteria are judged by, over a session of its own; the checks are those on record."""
        from knowledge_migration.engine.foundation.check_record import recorded
        from knowledge_migration.engine.validation.criteria.facts import Facts

        with self.database.connect("criteria") as connection:
            yield Facts(
                database=self.database,
                connection=connection,
                settings=self.settings,
                checks={one.name: one for one in recorded(connection)},
                service=self.known_service_address,
            )

    def measured_pages(self) -> tuple["PageLatency", ...]:
        """The present latency of the pages of BASELINE_URLS."""
        from knowledge_migration.engine.validation.performance.pages import measure_pages

        settings = self.settings.performance
        return measure_pages(
            [url.get_secret_value() for url in settings.baseline_urls],
            samples=settings.baseline_samples,
            bearer_token=_secret(settings.baseline_bearer_token),
        )

    @property
    def dagster_storage(self) -> Database:
        """The database of Dagster's own tables; starts the embedded server where none is named."""
        return _named(self.settings.installation.dagster_url) or _embedded(self.settings, DAGSTER_DATABASE)

    @property
    def dagster_storage_url(self) -> str:
        """Its address with the driver that dagster-postgres works with.

        SQLAlchemy 2.1 would take psycopg 3 for `postgresql://`; dagster-postgres then fails on the first event it stores.
        """
        url = parsed(self.dagster_storage.url)
        return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)

    @property
    def dagster_files(self) -> Path:
        """The directory of Dagster's files, which only this user may read; created here."""
        files = self.settings.home / "dagster"
        files.mkdir(parents=True, exist_ok=True, mode=0o700)
        return files

    @property
    def announced_ui(self) -> Path:
        """The file that names the address of `knowledge-migration ui` while it runs."""
        return self.settings.home / "dagster" / "ui_address"

    @property
    def dagster_ui(self) -> str | None:
        """Where people open Dagster's UI: as the settings say, or as `knowledge-migration ui` announces; None if unknown."""
        if self.settings.installation.dagster_ui_url:
            return self.settings.installation.dagster_ui_url
        try:
            return self.announced_ui.read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def process_variables(self, project: Path) -> dict[str, str]:
        """The environment variables of Dagster's processes."""
        return {
            "DAGSTER_HOME": str(project),
            "KNOWLEDGE_MIGRATION_HOME": str(self.settings.home),
            "GX_ANALYTICS_ENABLED": "false",
        }


def embedded_directory(settings: Settings) -> Path:
    """The data directory of the embedded server."""
    return settings.home / "postgresql"


def _embedded(settings: Settings, name: str) -> Database:
    from knowledge_migration.engine.foundation import embedded_server

    return embedded_server.start(embedded_directory(settings)).ensure_database(name)


def _named(url: SecretStr | None) -> Database | None:
    return Database(url.get_secret_value()) if url else None


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
