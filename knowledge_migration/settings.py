"""Every knob of the migration, once: its name, unit, default and meaning.

A setting's environment variable is its name in capitals; a `.env` file in the working directory is read too. The names
of the strategy (its §7.1 and appendix B) are kept as they are. An invalid value is refused at start with its name.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from knowledge_migration.engine.cutover.gates import BreachAction, Gate
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.validation.performance.addresses import refuse_unusable
from knowledge_migration.knowledge.stages import Stage
from knowledge_migration.thresholds import BAKE_MINUTES, GATES

LARGEST_MILLISECONDS = 2**31 - 1  # PostgreSQL's limit for a timeout


class SettingsError(MigrationError):
    """A setting has a value that cannot be used."""


def _postgresql_url(url: SecretStr | None) -> SecretStr | None:
    """Refuses what is not the address of a PostgreSQL database."""
    if url is None:
        return None
    try:
        parsed = make_url(url.get_secret_value())
    except (ArgumentError, ValueError) as error:  # what follows a colon may be a password: never in the message
        raise ValueError("is not a URL; expected postgresql://user:password@host:5432/database") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("is not a PostgreSQL URL; expected postgresql://user:password@host:5432/database")
    if not parsed.database:
        raise ValueError("names no database; expected postgresql://user:password@host:5432/database")
    return url


def _place(url: SecretStr) -> tuple[object, ...]:
    """Which database an address names, whoever connects and however."""
    parsed = make_url(url.get_secret_value())
    return parsed.host, parsed.port or 5432, parsed.query.get("host"), parsed.database


PostgresUrl = Annotated[SecretStr | None, AfterValidator(_postgresql_url)]


class GateChange(BaseModel):
    """What may be changed of one line of the threshold table; what is not named stays."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    threshold: float = 0.0
    upper: float | None = None
    window_minutes: float = Field(default=1.0, gt=0)
    minimum_sample: int = Field(default=1, ge=0)
    passes_in_a_row: int = Field(default=1, ge=1)
    stages: tuple[Stage, ...] = ()
    limit_seconds: float | None = Field(default=None, gt=0)
    breach: float | None = None
    on_breach: BreachAction | None = None
    breach_window_minutes: float = Field(default=1.0, gt=0)
    breach_sample: int = Field(default=1, ge=0)


class Settings(BaseSettings):
    """All settings; see the module for how they are read."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, allow_inf_nan=False
    )

    # --- where things are ---------------------------------------------------------------------------------------
    knowledge_migration_database_url: PostgresUrl = Field(
        default=None,
        description="The database to migrate. Unset: an embedded PostgreSQL with a demonstration knowledge base.",
    )
    knowledge_migration_scratch_url: PostgresUrl = Field(
        default=None,
        description=(
            "A server on which scratch databases may be created to prove a backup. "
            "Unset: the server of the database itself (needs CREATEDB)."
        ),
    )
    knowledge_migration_dagster_url: PostgresUrl = Field(
        default=None,
        description="The database of Dagster's own tables, never the migrated one. Unset: on the embedded server.",
    )
    knowledge_migration_home: Path = Field(
        default=Path(".knowledge_migration"),
        description="Directory of what this machine keeps: embedded server, backups, Dagster's logs.",
    )
    knowledge_migration_pg_bin: Path | None = Field(
        default=None,
        description="Directory with pg_dump and pg_restore. Unset: those that fit the server best.",
    )
    knowledge_migration_rules_sample: int = Field(
        default=20, ge=1, le=1000, description="Rows shown of those that break a rule. The count is always exact."
    )

    knowledge_migration_alert_urls: tuple[SecretStr, ...] = Field(
        default=(),
        description="Channels for alerts in apprise's notation, as a JSON list; `alerts test` tries them.",
    )

    knowledge_migration_suites: Path | None = Field(
        default=None,
        description="Folder of your own Great Expectations suites (JSON), which quality_validation runs beside its own.",
    )
    quality_docs_kept: int = Field(
        default=30, ge=1, description="Validations whose Data Docs are kept under data_docs/ in the home directory."
    )
    quality_statement_timeout_seconds: float = Field(
        default=300.0,
        gt=0,
        le=LARGEST_MILLISECONDS // 1_000,
        description="Longest time of one statement of a quality validation; beyond it the validation fails, not the data.",
    )

    # --- phase 0 ------------------------------------------------------------------------------------------------
    fingerprint_range_ids: int = Field(
        default=10_000, ge=1, description="Width in ids of the key ranges that are fingerprinted one by one."
    )
    near_duplicate_similarity_percent: float = Field(
        default=60.0,
        gt=0,
        le=100,
        description=(
            "Topic names whose similarity reaches this are reported as near duplicates: their shared trigrams, as "
            "pg_trgm counts them, or from 90 on their spelling without blanks and punctuation."
        ),
    )
    baseline_samples: int = Field(
        default=200, ge=20, description="Timed executions of each endpoint query for the performance baseline."
    )
    baseline_urls: tuple[SecretStr, ...] = Field(
        default=(),
        description=(
            "Pages and endpoints of the application that are timed in the baseline and after each phase, as a JSON list of "
            "http(s) addresses; GET only."
        ),
    )
    baseline_bearer_token: SecretStr | None = Field(
        default=None, description="Bearer token that is sent to the hosts of BASELINE_URLS, and nowhere else."
    )
    performance_samples: int = Field(
        default=100, ge=20, description="Timed executions of each list query when it is held against its limit."
    )
    performance_large_table_rows: int = Field(
        default=100_000, ge=1, description="A table from this many rows on must not be read whole by a list query."
    )
    long_transaction_seconds: float = Field(
        default=300.0, gt=0, description="A transaction older than this fails preflight: schema changes would wait."
    )
    backup_max_age_hours: float = Field(
        default=24.0, gt=0, description="A verified backup older than this no longer lets the schema phase start."
    )

    knowledge_migration_skip_rehearsal_reason: str | None = Field(
        default=None,
        description="Why to go on without a rehearsal of this very plan on a clone; it goes to the audit log.",
    )

    # --- phase 1 ------------------------------------------------------------------------------------------------
    ddl_lock_timeout_ms: int = Field(
        default=100, ge=1, le=1000, description="Longest time a schema statement queues for a lock, per attempt."
    )
    ddl_lock_attempts: int = Field(
        default=60, ge=1, description="Attempts before a schema statement gives up and names the blocker."
    )
    ddl_retry_max_seconds: float = Field(
        default=5.0, gt=0, description="Longest pause between two attempts (it grows from 0.1 s, with jitter)."
    )
    ddl_blocker_age_seconds: float = Field(
        default=0.5, ge=0, description="A transaction older than this on the table is waited for, not queued behind."
    )
    index_build_timeout_minutes: float = Field(
        default=240.0,
        gt=0,
        le=LARGEST_MILLISECONDS // 60_000,
        description="Cap on one concurrent index build, which may wait for old transactions.",
    )
    reader_stall_limit_ms: float = Field(
        default=250.0, gt=0, description="Longest stall of a reader that the schema phase may cause."
    )

    # --- phase 3 (strategy §2.2, §5.1) --------------------------------------------------------------------------
    migration_batch_size: int = Field(default=100, ge=1, le=50_000, description="Rows in one backfill transaction.")
    migration_rate_limit_per_second: float = Field(
        default=10.0,
        ge=0,
        description="Backfill *batches* (not rows) per second, as the strategy's §5.1 has it; 0 is no limit.",
    )
    migration_partition_ids: int = Field(
        default=50_000, ge=1, description="Width in ids of one backfill partition: minutes of work, not seconds."
    )
    migration_max_partitions: int = Field(
        default=200, ge=1, description="Most partitions per table; the width grows beyond the setting to keep to it."
    )
    migration_statement_timeout_ms: int = Field(
        default=10_000,
        ge=100,
        le=LARGEST_MILLISECONDS,
        description="Longest time of one backfill batch; it is halved and tried again then.",
    )
    migration_lock_timeout_ms: int = Field(
        default=1_000,
        ge=1,
        le=LARGEST_MILLISECONDS,
        description="Longest wait of a backfill batch for a row that a user holds.",
    )
    migration_retry_attempts: int = Field(
        default=8, ge=1, description="Attempts for one batch that meets locks, deadlocks or timeouts."
    )
    migration_sweep_passes: int = Field(
        default=10, ge=1, description="Passes of the final sweep before it says that rows still appear unlinked."
    )

    # --- phase 2 (strategy §4) ----------------------------------------------------------------------------------
    knowledge_migration_no_live_writers: bool = Field(
        default=False,
        description=(
            "The operator's word that no process writes topics or atoms: the backfill then needs no proof that every "
            "writer dual-writes. It goes to the audit log."
        ),
    )
    dual_write_fence_seconds: float = Field(
        default=120.0, gt=0, description="How long to wait for live writers to obey and older transactions to end."
    )
    writer_live_seconds: float = Field(
        default=10.0, ge=2, description="A process of the service counts as live if it reported this recently."
    )
    dual_write_max_slowdown_percent: float = Field(
        default=10.0, gt=0, description="How much slower than direct mode an extraction in dual write may be."
    )
    dual_write_measured_pairs: int = Field(
        default=60, ge=10, description="Extractions measured in each of the two modes, in turn; all are taken back."
    )

    # --- phase 4 (strategy §6, §8, §9.3, §11.1) -------------------------------------------------------------------
    cutover_gates: dict[str, GateChange] = Field(
        default_factory=dict,
        description=(
            "Changes of the threshold table (`knowledge-migration cutover gates` shows it), as JSON: "
            '{"api_error_rate": {"minimum_sample": 1000}}.'
        ),
    )
    cutover_bake_minutes: dict[Stage, float] = Field(
        default_factory=dict,
        description="How long the state before must have stood, per stage promoted to, where it is not a day.",
    )
    cutover_evaluation_seconds: float = Field(
        default=60.0, gt=0, description="How far apart two verdicts of a gate lie to count as two in a row."
    )
    cutover_check_max_age_minutes: float = Field(
        default=60.0, gt=0, description="An integrity check older than this does not let a stage be promoted."
    )
    cutover_automatic_promotion: bool = Field(
        default=False,
        description="Let the sensor cutover_promotion start the next stage itself when nothing is missing.",
    )
    cutover_rollback_window_hours: float = Field(
        default=336.0,
        gt=0,
        description="How long full cutover must stand before dual write may be switched off; two weeks.",
    )
    drill_max_age_days: float = Field(
        default=7.0, gt=0, description="A rollback drill older than this does not let a stage be promoted."
    )
    guard_threshold_floor: float = Field(
        default=0.8, ge=0, le=1, description="The guard never lowers the threshold of automatic approval below this."
    )
    guard_relief_minutes: float = Field(
        default=30.0, gt=0, description="How long the guard waits before it lowers that threshold again."
    )
    straggler_minutes: float = Field(
        default=10.0, gt=0, description="A row without its proposal for this long was left so by an old writer."
    )

    # --- validation at any time (strategy §9) -------------------------------------------------------------------
    verification_whole_days: float = Field(
        default=7.0,
        ge=0,
        description="Value verification compares all again if it last did longer ago; else what was written since.",
    )
    verification_settle_seconds: float = Field(
        default=5.0, ge=0, le=600, description="A value that differs is read again after this long before it counts."
    )
    verification_max_age_hours: float = Field(
        default=36.0, gt=0, description="A value verification older than this no longer counts as one."
    )

    functional_validation_allowed: bool = Field(
        default=False,
        description="This database may get the rows of a functional validation, which users may see until they are removed.",
    )
    load_test_allowed: bool = Field(
        default=False, description="This database and its service may get the load of a load test, and its rows."
    )
    metrics_kept_days: int = Field(default=90, ge=1, description="Days for which samples of the metrics are kept.")

    # --- phase 5 (strategy §11.3) -------------------------------------------------------------------------------
    cleanup_stable_days: float = Field(
        default=14.0, ge=0, description="Days of stable full cutover before the old paths may be retired."
    )
    archive_older_than_days: float = Field(
        default=30.0, ge=0, description="Extraction runs that began longer ago may be archived."
    )
    cleanup_drop_indexes: tuple[str, ...] = Field(
        default=(),
        description="The indexes that index_maintenance may drop, by name, as a JSON list. Others are reported.",
    )

    # --- the knowledge service ----------------------------------------------------------------------------------
    knowledge_service_url: str | None = Field(
        default=None,
        description="Where the service answers (http://host:port), for the probes. Unset: the probes are not run.",
    )
    knowledge_api_reviewer_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token of reviewers. No token at all: this machine only is served.",
    )
    knowledge_api_admin_token: SecretStr | None = Field(
        default=None, min_length=16, description="Bearer token of admins, who may change the flags too."
    )
    knowledge_pool_size: int = Field(
        default=10, ge=2, le=500, description="Database connections of one process of the service."
    )
    knowledge_direct_threshold: float = Field(
        default=0.7, ge=0, le=1, description="Confidence from which direct mode writes what was extracted."
    )
    knowledge_review_queue_limit: int = Field(
        default=1_000,
        ge=1,
        description="Proposals that may wait for review; an extraction beyond that is refused (429).",
    )
    knowledge_extractor: Literal["local", "openai", "ollama"] = Field(
        default="local",
        description="What finds knowledge in messages. The last two need the extra `llm` and KNOWLEDGE_LLM_MODEL.",
    )
    knowledge_llm_model: str | None = Field(default=None, description="Name of the model.")
    knowledge_llm_base_url: str | None = Field(
        default=None, description="Address of an OpenAI-compatible endpoint, or of Ollama. Unset: their own defaults."
    )
    knowledge_llm_api_key: SecretStr | None = Field(default=None, description="Key of the endpoint.")
    knowledge_llm_timeout_seconds: float = Field(default=60.0, gt=0, description="How long the model may take.")

    # --- flags of the application (strategy §7.1): their initial values -----------------------------------------
    knowledge_proposals_enabled: bool = Field(default=False, description="Master switch of the proposal system.")
    knowledge_proposals_dual_write: bool = Field(default=False, description="Write proposals beside direct writes.")
    knowledge_proposals_cutover_percentage: int = Field(
        default=0, ge=0, le=100, description="Share of users whose extractions become proposals only, in percent."
    )
    knowledge_proposals_audience: Literal["admins", "everyone"] = Field(
        default="everyone", description="Whom the percentage counts among: everyone, or the listed admins only."
    )
    knowledge_proposals_admin_user_ids: tuple[int, ...] = Field(
        default=(), description="Users whose extractions are proposals first, as a JSON list: [1, 7]."
    )
    knowledge_proposals_auto_approve_high_confidence: bool = Field(
        default=True, description="Approve proposals of high confidence without a reviewer."
    )
    knowledge_proposals_auto_approve_threshold: float = Field(
        default=0.95, ge=0.0, le=1.0, description="Confidence from which a proposal is approved automatically."
    )

    @field_validator("knowledge_migration_dagster_url")
    @classmethod
    def _dagster_keeps_out(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Refuses the migrated database for Dagster's own tables."""
        migrated = info.data.get("knowledge_migration_database_url")
        if url and migrated and _place(url) == _place(migrated):
            raise ValueError("is the database to migrate; Dagster's tables need a database of their own")
        return url

    @field_validator("baseline_urls")
    @classmethod
    def _usable_pages(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        """Refuses what cannot be asked for, by its place: the address may hold a password."""
        refuse_unusable([url.get_secret_value() for url in urls])
        return urls

    @field_validator("cutover_gates")
    @classmethod
    def _known_gates(cls, changes: dict[str, GateChange]) -> dict[str, GateChange]:
        """Refuses a gate that does not exist: a misspelt one would change nothing, silently."""
        unknown = sorted(changes.keys() - {gate.metric for gate in GATES})
        if unknown:
            raise ValueError(
                f"names no gate: {', '.join(unknown)}; there are {', '.join(gate.metric for gate in GATES)}"
            )
        return changes

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The threshold table with its changes."""
        return tuple(
            replace(gate, **self.cutover_gates[gate.metric].model_dump(exclude_unset=True))
            if gate.metric in self.cutover_gates
            else gate
            for gate in GATES
        )

    @property
    def bake_minutes(self) -> dict[Stage, float]:
        """How long the state before each stage must have stood."""
        return {**BAKE_MINUTES, **self.cutover_bake_minutes}

    @property
    def home(self) -> Path:
        """The absolute directory of what this machine keeps."""
        return self.knowledge_migration_home.expanduser().absolute()

    @property
    def uses_demonstration(self) -> bool:
        """True when no database is named: everything then happens on the embedded server."""
        return self.knowledge_migration_database_url is None


def load_settings(**values: object) -> Settings:
    """Reads the settings; raises `SettingsError` that names each refused one and the reason."""
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        refused = "; ".join(
            f"{str(item['loc'][0]).upper()} {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        )
        raise SettingsError(f"These settings cannot be used: {refused}. Correct them and start again.") from None


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
