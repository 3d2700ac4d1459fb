"""Where everything of one installation is: the database to migrate, the scratch server, Dagster's storage, the backups.

Starts the embedded server where it is needed: always for Dagster's own tables unless a database for them is named, and
for the demonstration when no database to migrate is named.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.status.reading import StatusRules
from knowledge_migration.knowledge.extraction.model import Extractor
from knowledge_migration.knowledge.flags import FLAG_NAME, RETIRED, Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.settings import Settings, SettingsError

DEMONSTRATION_DATABASE = "tasktracker"
DAGSTER_DATABASE = "dagster"
EMBEDDED_SERVER_DIRECTORY = "postgresql"


@dataclass(frozen=True)
class Environment:
    """The addresses and directories of one installation."""

    settings: Settings
    database: Database
    scratch: Database
    backups: Path

    @property
    def exports(self) -> Path:
        """Where rows are written before something is done to them."""
        return self.settings.home / "exports"


def environment(settings: Settings) -> Environment:
    """The environment that the settings name; starts the embedded server when the demonstration is meant."""
    named = settings.knowledge_migration_database_url
    database = Database(named.get_secret_value()) if named else _embedded(settings, DEMONSTRATION_DATABASE)
    scratch_url = settings.knowledge_migration_scratch_url
    scratch = Database(scratch_url.get_secret_value()) if scratch_url else database.sibling("postgres")
    return Environment(settings, database, scratch, settings.home / "backups")


def initial_flags(settings: Settings) -> Flags:
    """The flags that the strategy's environment variables say, until somebody sets one."""
    named = (name for name in Flags().values if name != RETIRED)
    return Flags(**{name: getattr(settings, f"{FLAG_NAME}_{name}") for name in named})


def service_options(settings: Settings, database: Database) -> ServiceOptions:
    """How a process of the knowledge service runs on this database."""
    return ServiceOptions(
        database_url=database.url,
        initial_flags=initial_flags(settings),
        pool_size=settings.knowledge_pool_size,
        direct_threshold=settings.knowledge_direct_threshold,
        queue_limit=settings.knowledge_review_queue_limit,
        writer_live_seconds=settings.writer_live_seconds,
        reviewer_token=_secret(settings.knowledge_api_reviewer_token),
        admin_token=_secret(settings.knowledge_api_admin_token),
    )


def status_rules(settings: Settings) -> StatusRules:
    """The settings that the state of the migration is judged by."""
    return StatusRules(
        gates=settings.gates,
        bake_minutes=settings.bake_minutes,
        backup_max_age_hours=settings.backup_max_age_hours,
        drill_max_age_days=settings.drill_max_age_days,
        verification_max_age_hours=settings.verification_max_age_hours,
        stable_days=settings.cleanup_stable_days,
        live_seconds=settings.writer_live_seconds,
        queue_limit=settings.knowledge_review_queue_limit,
        no_live_writers=settings.knowledge_migration_no_live_writers,
        skip_rehearsal=settings.knowledge_migration_skip_rehearsal_reason is not None,
    )


def extractor(settings: Settings) -> Extractor:
    """The extractor that the settings name; raises `SettingsError` for a language model without a name."""
    if settings.knowledge_extractor == "local":
        from knowledge_migration.knowledge.extraction.local import LocalExtractor

        return LocalExtractor()
    from knowledge_migration.knowledge.extraction import llm

    if not settings.knowledge_llm_model:
        raise SettingsError(
            f"KNOWLEDGE_EXTRACTOR is {settings.knowledge_extractor}, so KNOWLEDGE_LLM_MODEL must name a model."
        )
    return llm.LLMExtractor(
        provider=settings.knowledge_extractor,
        model=settings.knowledge_llm_model,
        base_url=settings.knowledge_llm_base_url,
        api_key=_secret(settings.knowledge_llm_api_key),
        timeout_seconds=settings.knowledge_llm_timeout_seconds,
    )


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def dagster_storage_url(settings: Settings) -> str:
    """The address of Dagster's own tables, with the driver that dagster-postgres works with.

    SQLAlchemy 2.1 would take psycopg 3 for `postgresql://`; dagster-postgres then fails on the first event it stores.
    """
    named = settings.knowledge_migration_dagster_url
    url = named.get_secret_value() if named else _embedded(settings, DAGSTER_DATABASE).url
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def running_dagster_storage(settings: Settings) -> Database | None:
    """Where Dagster keeps its tables, without starting a server for it; None where none runs."""
    named = settings.knowledge_migration_dagster_url
    if named:
        return Database(named.get_secret_value())
    server = embedded_server.running(settings.home / EMBEDDED_SERVER_DIRECTORY)
    return server.sibling(DAGSTER_DATABASE) if server else None


def process_variables(settings: Settings, project: Path) -> dict[str, str]:
    """The environment variables that Dagster's processes need: where its instance and its storage are."""
    files = settings.home / "dagster"
    files.mkdir(parents=True, exist_ok=True)
    return {
        "DAGSTER_HOME": str(project),
        "KNOWLEDGE_MIGRATION_HOME": str(settings.home),
        "KNOWLEDGE_MIGRATION_DAGSTER_STORAGE": dagster_storage_url(settings),
        "KNOWLEDGE_MIGRATION_DAGSTER_FILES": str(files),
        "GX_ANALYTICS_ENABLED": "false",
    }


def _embedded(settings: Settings, name: str) -> Database:
    return embedded_server.start(settings.home / EMBEDDED_SERVER_DIRECTORY).ensure_database(name)
