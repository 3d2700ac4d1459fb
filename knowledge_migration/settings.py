"""Every setting once, in sections; a section is the option object that the engine takes.

The environment variable of a setting is its alias in capitals, or that and `_FILE` for a file with the value; a `.env` file
in the working directory is read too. The variables of the strategy (§7.1, appendix B) keep their names. `load_settings`
refuses an invalid value and names its variable. Sections never read the environment themselves.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from knowledge_migration.addresses import BackupsPlace, PostgresUrl, refuse_unusable, server_and_database
from knowledge_migration.pressure import Signal, changed_signals
from knowledge_migration.thresholds import BAKE_MINUTES, DEMONSTRATION, GATES, Gate, Stage, changed_gates

LARGEST_MILLISECONDS = 2**31 - 1  # PostgreSQL's limit for a timeout
PREFIX = "knowledge_migration_"
MOST_DAYS = 36_500  # an age that a date can have
FORMER_NAMES = {"knowledge_migration_unrehearsed": "knowledge_migration_skip_rehearsal_reason"}
"""Variables that were renamed and still work; the present name has precedence."""
FILE = "_file"
"""`NAME_FILE` names a file with the value of `NAME`, as images and secrets of Docker and Kubernetes have it."""
NEARLY = 0.92
"""The similarity above which a variable of somebody else is a misspelled setting."""


class SettingsError(Exception):
    """A setting has a value that cannot be used."""


class Section(BaseModel, extra="forbid", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True):
    """Settings that change together. A field with `exclude` has no environment variable: only code sets it.

    The alias generator puts the prefix of the section's variables before a field's name; a field may name its own variable.
    """

    model_config = {"frozen": True}  # mypy would require a class argument `frozen` in each subclass, too

    def replaced(self, **changes: Any) -> Self:
        """The section with these fields changed and validated."""
        return type(self)(**{**dict(self), **changes})


def _setting(default: Any, description: str, env: str | None = None, *, plan: bool = False, **bounds: Any) -> Any:
    """A setting; `env` is its variable where that is not prefix and name. The plan hash of the rehearsal covers `plan`."""
    return Field(default, description=description, validation_alias=env, json_schema_extra={"plan": plan}, **bounds)


def _internal(default: Any) -> Any:
    """A value that only code and tests set."""
    return Field(default=default, exclude=True)


# fmt: off
class InstallationSettings(Section, alias_generator=PREFIX.__add__):
    """Addresses and directories."""

    database_url: PostgresUrl = _setting(None,
        "The database to migrate. Unset: an embedded PostgreSQL with a demonstration knowledge base.")
    scratch_url: PostgresUrl = _setting(None,
        "Server of the scratch databases that verify a backup. Unset: the server of the database (needs CREATEDB).")
    dagster_url: PostgresUrl = _setting(None,
        "The database of Dagster's own tables, never the migrated one. Unset: on the embedded server.")
    home: Path = _setting(Path(".knowledge_migration"), "Directory of the embedded server, the backups, Dagster's logs.")
    backups: BackupsPlace = _setting(None,
        "Folder of the backups, or a URL of fsspec that every machine reads (`s3://bucket/folder`; install the extra s3, gcs or "
        "azure). Unset: `backups/` in the home directory.")
    pg_bin: Path | None = _setting(None, "Directory with pg_dump and pg_restore. Unset: those that fit the server best.")
    dagster_ui_url: str | None = _setting(None,
        "Address of Dagster's UI as people open it (`https://dagster.example.com`), for links to runs. Unset: that of a running "
        "`knowledge-migration ui`.",
        pattern="^https?://")
    operator: str | None = _setting(None,
        "Your name or e-mail address for the audit log. Unset: the user of the process and its host.",
        min_length=1, max_length=200)
    asset_owner: str = _setting("team:knowledge", "Owner of every asset in Dagster: team:NAME or an e-mail address.")
    log_format: Literal["text", "json"] = _setting("text",
        "Lines of the log of the service and of runs; json: one object each, with run id, phase and batch.")
    alert_urls: tuple[SecretStr, ...] = _setting((), "Channels for alerts, URLs of apprise as a JSON list (try `alerts test`).")

    @field_validator("dagster_url")
    @classmethod
    def _differs_from_the_migrated_database(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        migrated = info.data.get("database_url")
        if url and migrated and server_and_database(url) == server_and_database(migrated):
            raise ValueError("is the database to migrate; Dagster's tables need a database of their own")
        return url


class PreparationSettings(Section):
    """Phase 0: preflight, fingerprint, data quality report, backup."""

    fingerprint_range_ids: int = _setting(10_000,
        "Width in ids of the ranges that are fingerprinted one by one.", plan=True, ge=1)
    near_duplicate_similarity_percent: float = _setting(60.0,
        "Topic names whose similarity reaches this are reported as near duplicates: their shared trigrams, as pg_trgm "
        "counts them, or from 90 on their spelling without blanks and punctuation.", gt=0, le=100)
    long_transaction_seconds: float = _setting(300.0, "An older transaction fails preflight: schema changes would wait.", gt=0)
    subscribers_ready: bool = _setting(False,
        "The operator confirms that every logical subscriber of topics and atoms has the columns that phase 1 adds.",
        "knowledge_migration_subscribers_ready")
    backup_max_age_hours: float = _setting(24.0, "An older verified backup does not let the schema phase start.", gt=0)


class RehearsalSettings(Section):
    """The rehearsal and the rollback drill on a clone."""

    skip_reason: str | None = _setting(None,
        "Why to go on without a rehearsal of this plan on a clone; it is recorded in the audit log.",
        "knowledge_migration_skip_rehearsal_reason")
    rows: int | None = _setting(None,
        "Rehearse and drill on a sample of about this many rows of each larger table; the forecast is scaled. Unset: all rows.",
        "knowledge_migration_rehearsal_rows", ge=1_000)
    clone_url: PostgresUrl = _setting(None,
        "A copy of the database that the rehearsal and the drill may change, for example a restored snapshot of the provider. "
        "Unset: a scratch database that is restored from the verified backup.", "knowledge_migration_rehearsal_clone_url")
    drill_max_age_days: float = _setting(7.0, "A rollback drill older than this does not let a stage be promoted.", gt=0)

    @field_validator("clone_url")
    @classmethod
    def _is_whole(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url and info.data.get("rows"):
            raise ValueError("and KNOWLEDGE_MIGRATION_REHEARSAL_ROWS exclude each other; unset one of them")
        return url


class PerformanceSettings(Section):
    """The performance baseline and the limits of the list queries."""

    baseline_samples: int = _setting(200, "Timed executions of each endpoint query for the performance baseline.", ge=20)
    baseline_urls: tuple[SecretStr, ...] = _setting((),
        "Pages of the application that are timed with GET in the baseline and after each phase: a JSON list of URLs.")
    baseline_bearer_token: SecretStr | None = _setting(None, "Bearer token for the hosts of BASELINE_URLS, sent nowhere else.")
    samples: int = _setting(100, "Timed executions of each list query for its limit.", "performance_samples", ge=20)
    large_table_rows: int = _setting(100_000,
        "No list query scans a table of this many rows.", "performance_large_table_rows", ge=1)

    @field_validator("baseline_urls")
    @classmethod
    def _usable_pages(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        refuse_unusable([url.get_secret_value() for url in urls])
        return urls


class SchemaChangeSettings(Section, alias_generator="ddl_".__add__):
    """Phase 1: how long a schema statement may make others wait, and how long it retries."""

    lock_timeout_ms: int = _setting(100,
        "Longest wait of a schema statement for a lock, per attempt.", plan=True, ge=1, le=1000)
    attempts: int = _setting(60,
        "Attempts before a schema statement fails and names the blocker.", "ddl_lock_attempts", plan=True, ge=1)
    retry_max_seconds: float = _setting(5.0, "Longest pause between two attempts (it grows from 0.1 s, with jitter).", gt=0)
    blocker_age_seconds: float = _setting(0.5,
        "A statement waits for a transaction older than this on its table instead of queueing behind it.", ge=0)
    index_build_timeout_minutes: float = _setting(240.0,
        "Cap on one concurrent index build, which may wait for old transactions.",
        "index_build_timeout_minutes", gt=0, le=LARGEST_MILLISECONDS // 60_000)
    reader_stall_limit_ms: float = _setting(250.0,
        "Longest stall of a reader during the schema phase.", "reader_stall_limit_ms", gt=0)
    sleep: Callable[[float], None] = _internal(time.sleep)


class LivenessSettings(Section):
    """Shared by the sections that need it: when a process of the service counts as live."""

    live_seconds: float = _setting(10.0,
        "A service process that reported this recently is live.", "writer_live_seconds", ge=2, le=86_400)


class FenceSettings(LivenessSettings):
    """How long the dual-write fence waits, and which processes it waits for (strategy §4)."""

    seconds: float = _setting(120.0,
        "Longest wait until live writers acknowledge the flags and older transactions end.", "dual_write_fence_seconds", gt=0)
    watch_seconds: float = _setting(5.0,
        "How long the fence watches for rows that any session writes without a proposal.", "dual_write_watch_seconds", gt=0)
    poll_seconds: float = _internal(0.2)
    clock: Callable[[], float] = _internal(time.monotonic)
    sleep: Callable[[float], None] = _internal(time.sleep)


class DualWriteSettings(Section, alias_generator="dual_write_".__add__):
    """Phase 2 (strategy §4)."""

    no_live_writers: bool = _setting(False,
        "The operator confirms that no process writes topics or atoms, so that phase 2 is skipped. The plan and the completion "
        "of the backfill verify it over DUAL_WRITE_WATCH_SECONDS. It is recorded in the audit log.",
        "knowledge_migration_no_live_writers")
    capture: Literal["automatic", "application", "database"] = _setting("automatic",
        "Who writes the proposals beside direct writes: the processes of the service (application), or triggers for every "
        "session (database). Automatic: triggers if a writer is observed that is not the service.")
    max_slowdown_percent: float = _setting(10.0, "How much slower than direct mode an extraction in dual write may be.", gt=0)
    measured_pairs: int = _setting(60, "Extractions measured in each of the two modes, interleaved; all are undone.", ge=10)
    straggler_minutes: float = _setting(10.0,
        "A row without a proposal for this long is a straggler.", "straggler_minutes", gt=0)


TriggerChoice = Literal["refuse", "replica", "accept"]


class BackfillSettings(Section, alias_generator="migration_".__add__):
    """Phase 3 (strategy §2.2, §5.1): how fast a backfill runs, and when it yields to others."""

    batch_size: int = _setting(100,
        "Rows in one backfill transaction at a fixed rate; at the automatic rate, of the first.", plan=True, ge=1, le=50_000)
    rate_limit_per_second: Literal["auto"] | Annotated[float, Field(ge=0)] = _setting("auto",
        "auto: as fast as the signals of the database allow (docs/speed.md), in batches of about 100 ms. A number: backfill "
        "*batches* (not rows) per second, as the strategy's §5.1 has it; 0 is no limit. The demonstration uses 10.")
    max_batch_size: int = _setting(5_000, "Most rows in one backfill transaction at the automatic rate.", ge=1, le=50_000)
    disabled_signals: tuple[str, ...] = _setting((),
        'Signals that the automatic rate does not read, as a JSON list of names: ["archive_queue"].')
    signal_limits: dict[str, dict[str, float | None]] = _setting({},
        'Changes of the limits of the signals, as JSON; null removes a limit: {"replay_lag": {"soft": 2, "hard": null}}.')
    server_cores: int | None = _setting(None,
        "Cores of the database server, for the signal active_sessions. Unset: those of this machine, at most 4.", ge=1)
    partition_rows: int = _setting(50_000, "Rows of one backfill partition: minutes of work.", plan=True, ge=1)
    max_partitions: int = _setting(200, "Most partitions per table; a larger table gets larger partitions.", plan=True, ge=1)
    statement_timeout_ms: int = _setting(10_000,
        "Longest time of one backfill batch; a batch that exceeds it is halved and retried.",
        plan=True, ge=100, le=LARGEST_MILLISECONDS)
    lock_timeout_ms: int = _setting(1_000,
        "Longest wait of a backfill batch for a row that a user has locked.", plan=True, ge=1, le=LARGEST_MILLISECONDS)
    retry_attempts: int = _setting(8, "Attempts for one batch that meets locks, deadlocks or timeouts.", ge=1)
    triggers: TriggerChoice = _setting("refuse",
        "What the backfill does about your triggers that its UPDATE fires and that write more than the link. refuse: it stops, "
        "or quarantines the row. replica: it disables ordinary triggers in its own sessions (session_replication_role). accept: "
        "they may write to other tables than topics, atoms and their relations.", plan=True)
    sweep_passes: int = _setting(10, "Passes of the final sweep before it reports that unlinked rows keep appearing.", ge=1)
    target_batch_seconds: float = _internal(0.1)
    slow_batch_seconds: float = _internal(0.4)
    max_replica_lag_seconds: float = _internal(10.0)
    control_interval_seconds: float = _internal(1.0)
    clock: Callable[[], float] = _internal(time.monotonic)
    sleep: Callable[[float], None] = _internal(time.sleep)

    @property
    def is_automatic(self) -> bool:
        """Whether the closed loop sets the speed."""
        return self.rate_limit_per_second == "auto"

    @property
    def fixed_rate(self) -> float:
        """Batches per second; 0 without a limit, and where the closed loop sets the speed."""
        return 0.0 if self.rate_limit_per_second == "auto" else self.rate_limit_per_second

    @property
    def cores(self) -> int:
        """The cores of the server, as far as known."""
        return self.server_cores or min(os.cpu_count() or 1, 4)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals that the closed loop reads, with their limits."""
        return changed_signals(self.signal_limits, self.disabled_signals)

    @field_validator("signal_limits")
    @classmethod
    def _limits_are_known(cls, changes: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
        changed_signals(changes)
        return changes

    @field_validator("disabled_signals")
    @classmethod
    def _signals_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        changed_signals({}, names)
        return names


BakeMinutes = Annotated[float, Field(ge=0, le=1_440 * MOST_DAYS)]


def _all_bake_minutes(changes: object) -> object:
    """The bake time of every stage, with the changes of a mapping."""
    return {**BAKE_MINUTES, **changes} if isinstance(changes, Mapping) else changes


class CutoverSettings(Section, alias_generator="cutover_".__add__):
    """Phase 4 (strategy §6, §8, §9.3, §11.1): gates, bake times and ages."""

    gates: Annotated[tuple[Gate, ...], BeforeValidator(changed_gates)] = _setting(GATES,
        'Changes of the threshold table (`knowledge-migration cutover gates` shows it), as JSON: {"api_error_rate": '
        '{"minimum_sample": 1000}}.')
    bake_minutes: Annotated[dict[Stage, BakeMinutes], BeforeValidator(_all_bake_minutes)] = _setting(BAKE_MINUTES,
        "Bake time of the state before, per stage promoted to, as JSON; a day where a stage is not named.")
    spacing_seconds: float = _setting(60.0,
        "Two verdicts of a gate count as consecutive if they are this far apart.", "cutover_evaluation_seconds", gt=0)
    check_max_age_minutes: float = _setting(60.0, "An integrity check older than this does not let a stage be promoted.", gt=0)
    automatic_promotion: bool = _setting(False, "The sensor cutover_promotion starts the next stage when nothing is missing.")
    rollback_window_hours: float = _setting(336.0, "Full cutover lasts this long before dual write may be switched off.", gt=0)


class GuardSettings(Section, alias_generator="guard_".__add__):
    """How the rollback guard shortens a long review queue."""

    threshold_floor: float = _setting(0.8, "The guard never lowers the threshold of automatic approval below this.", ge=0, le=1)
    relief_minutes: float = _setting(30.0,
        "How long the guard waits before it lowers that threshold again.", gt=0, le=1_440 * MOST_DAYS)


class VerificationSettings(Section, alias_generator="verification_".__add__):
    """The verification of all values (strategy §9)."""

    whole_days: float = _setting(7.0, "A verification compares all rows if that was longer ago; else rows written since.", ge=0)
    settle_seconds: float = _setting(5.0, "A value that differs is read again after this long before it counts.", ge=0, le=600)
    max_age_hours: float = _setting(36.0, "A value verification older than this no longer counts as one.", gt=0)


class ValidationSettings(Section):
    """Validation at any time (strategy §9)."""

    rules_sample: int = _setting(20,
        "Rows shown of those that violate a rule. The count is always exact.",
        "knowledge_migration_rules_sample", ge=1, le=1000)
    legacy_rows_max_gone_percent: float = _setting(1.0,
        "More rows of the fingerprint gone than this, in percent of a table, and not deleted through the service, are an error.",
        ge=0, le=100)
    legacy_rows_max_altered_percent: float = _setting(0.0,
        "More rows altered without a new updated_at since the fingerprint than this, in percent of a table, are an error.",
        ge=0, le=100)
    functional_allowed: bool = _setting(False,
        "This database may get the rows of a functional validation, which users may see until they are removed.",
        "functional_validation_allowed")
    load_test_allowed: bool = _setting(False, "This database and its service may get the load of a load test, and its rows.")
    metrics_kept_days: int = _setting(90, "Days for which samples of the metrics are kept.", ge=1)


class QualitySettings(Section, alias_generator="quality_".__add__):
    """The data quality validation with Great Expectations."""

    suites: Path | None = _setting(None,
        "Folder of your own Great Expectations suites (JSON), which quality_validation runs beside its own.",
        "knowledge_migration_suites")
    docs_kept: int = _setting(30, "Validations whose Data Docs are kept under data_docs/ in the home directory.", ge=1)
    statement_timeout_seconds: float = _setting(300.0,
        "Longest time of one statement of a quality validation; a longer one is an error, not bad data.",
        gt=0, le=LARGEST_MILLISECONDS // 1_000)


class CleanupSettings(Section, alias_generator="cleanup_".__add__):
    """Phase 5 (strategy §11.3)."""

    stable_days: float = _setting(14.0, "Days of stable full cutover before the old paths may be retired.", ge=0, le=MOST_DAYS)
    archive_older_than_days: float = _setting(30.0,
        "Runs that began longer ago may be archived.", "archive_older_than_days", ge=0, le=MOST_DAYS)
    drop_indexes: tuple[str, ...] = _setting((),
        "The indexes that index_maintenance may drop, by name, as a JSON list. Others are reported.")


class ServiceSettings(LivenessSettings, alias_generator="knowledge_".__add__):
    """The knowledge service: its address, tokens and limits."""

    url: str | None = _setting(None,
        "Where the service answers (http://host:port), for probes. Unset: as a live process announces.", "knowledge_service_url")
    reviewer_token: SecretStr | None = _setting(None,
        "Bearer token of reviewers. No token at all: this machine only is served.",
        "knowledge_api_reviewer_token", min_length=16)
    admin_token: SecretStr | None = _setting(None,
        "Bearer token of admins, who may change the flags too.", "knowledge_api_admin_token", min_length=16)
    pool_size: int = _setting(10, "Database connections of one process of the service.", ge=2, le=500)
    direct_threshold: float = _setting(0.7, "Confidence from which direct mode writes an extraction.", plan=True, ge=0, le=1)
    body_limit_bytes: int = _setting(1_000_000, "Largest body of a request to the service; a larger one is refused (413).",
        ge=1_000)
    connection_limit: int = _setting(1_000, "Connections of one process of the service; further ones are refused (503).", ge=10)
    queue_limit: int = _setting(1_000,
        "Proposals that may wait for review; an extraction beyond that is refused (429).", "knowledge_review_queue_limit", ge=1)

    semantic_model: Path | None = _setting(None,
        "Directory with `model.onnx` and `tokenizer.json` of a sentence-transformers model: topics whose names mean the same are "
        "found, too. Needs the extra `semantic`. Unset: by spelling only.")

    @property
    def token(self) -> str | None:
        """The token that the probes send: the admin's, else the reviewers'."""
        token = self.admin_token or self.reviewer_token
        return token.get_secret_value() if token else None


class ExtractorSettings(Section, alias_generator="knowledge_llm_".__add__):
    """The extractor and its language model."""

    provider: Literal["local", "openai", "ollama"] = _setting("local",
        "The extractor that finds knowledge in messages. The last two need the extra `llm` and KNOWLEDGE_LLM_MODEL.",
        "knowledge_extractor")
    model: str | None = _setting(None, "Name of the model.")
    base_url: str | None = _setting(None, "Address of an OpenAI-compatible endpoint, or of Ollama. Unset: their own defaults.")
    api_key: SecretStr | None = _setting(None, "Key of the endpoint.")
    timeout_seconds: float = _setting(60.0, "How long the model may take.", gt=0)


class FlagSettings(Section, alias_generator="knowledge_proposals_".__add__):
    """The flags of the application (strategy §7.1): their initial values."""

    enabled: bool = _setting(False, "Master switch of the proposal system.")
    dual_write: bool = _setting(False, "Write proposals beside direct writes.")
    cutover_percentage: int = _setting(0, "Share of users whose extractions become proposals only, in percent.", ge=0, le=100)
    audience: Literal["admins", "everyone"] = _setting("everyone",
        "Whom the percentage counts among: everyone, or the listed admins only.")
    admin_user_ids: tuple[int, ...] = _setting((),
        "Users whose extractions are proposals as soon as proposals are enabled, as a JSON list: [1, 7].", strict=False)
    auto_approve_high_confidence: bool = _setting(True, "Approve proposals of high confidence without a reviewer.")
    auto_approve_threshold: float = _setting(0.95, "Confidence that is approved automatically.", ge=0, le=1, strict=False)


class Settings(Section):
    """All sections."""

    installation: InstallationSettings = InstallationSettings()
    preparation: PreparationSettings = PreparationSettings()
    rehearsal: RehearsalSettings = RehearsalSettings()
    performance: PerformanceSettings = PerformanceSettings()
    schema_change: SchemaChangeSettings = SchemaChangeSettings()
    dual_write: DualWriteSettings = DualWriteSettings()
    fence: FenceSettings = FenceSettings()
    backfill: BackfillSettings = BackfillSettings()
    cutover: CutoverSettings = CutoverSettings()
    guard: GuardSettings = GuardSettings()
    verification: VerificationSettings = VerificationSettings()
    validation: ValidationSettings = ValidationSettings()
    quality: QualitySettings = QualitySettings()
    cleanup: CleanupSettings = CleanupSettings()
    service: ServiceSettings = ServiceSettings()
    extractor: ExtractorSettings = ExtractorSettings()
    flags: FlagSettings = FlagSettings()

    @property
    def home(self) -> Path:
        """The absolute directory of this machine's files."""
        return self.installation.home.expanduser().absolute()

    @property
    def uses_demonstration(self) -> bool:
        """True when no database is named: everything then happens on the embedded server."""
        return self.installation.database_url is None

    @property
    def plan(self) -> dict[str, object]:
        """The settings that change what the migration executes, by variable; speed and place may differ."""
        return {
            variable: getattr(getattr(self, section), field)
            for variable, section, field, info in variables()
            if info.json_schema_extra == {"plan": True}
        }


# fmt: on
def variables() -> Iterator[tuple[str, str, str, FieldInfo]]:
    """Every environment variable in lower case, with its section, its field and the field's declaration."""
    for section, declared in Settings.model_fields.items():
        assert isinstance(declared.default, Section)
        for name, info in type(declared.default).model_fields.items():
            if not info.exclude:
                yield str(info.validation_alias or name), section, name, info


def load_settings(**values: object) -> Settings:
    """Reads the settings; `values` are variables in lower case that have precedence.

    Raises `SettingsError` that names each refused variable and the reason.
    """
    known = {variable for variable, *_ in variables()}
    if values.keys() - known:
        raise SettingsError(f"{', '.join(sorted(values.keys() - known)).upper()} is no setting.")
    given = {**_with_contents_of_files(_environment(), known), **values}
    _refuse_misspelled(given.keys() - known, known)
    if not given.get("knowledge_migration_database_url"):
        given = {**DEMONSTRATION, **given}
    sections: dict[str, dict[str, object]] = {}
    for variable, section, _, info in variables():
        if variable in given:
            sections.setdefault(section, {})[variable] = _decoded(given[variable], info)
    try:
        return Settings.model_validate(sections)
    except ValidationError as error:
        refused = "; ".join(
            f"{str(item['loc'][1]).upper()} {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        )
        raise SettingsError(f"These settings cannot be used: {refused}. Correct them and start again.") from None


def _refuse_misspelled(others: set[str], known: set[str]) -> None:
    """Raises for a variable with the project's prefix that is no setting, and for one that nearly is a setting."""
    prefixes = {f"{name.split('_')[0]}_" for name in known}
    refused = []
    for name in sorted(others):
        near = get_close_matches(name, known, n=1, cutoff=NEARLY) if name.startswith(tuple(prefixes)) else []
        if near or name.startswith(PREFIX):
            meant = near or get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.0)
            refused.append(f"{name.upper()} is no setting. Did you mean {meant[0].upper()}?")
    if refused:
        raise SettingsError(f"{' '.join(refused)} Correct or unset it; docs/settings.md lists all settings.")


def _environment() -> dict[str, object]:
    """The variables of `.env` and of the process, which has precedence, in lower case; an empty one is unset."""
    read = (*dotenv_values(".env").items(), *os.environ.items())
    given: dict[str, object] = {name.lower(): value for name, value in read if value}
    for former, name in FORMER_NAMES.items():
        if former in given:
            given.setdefault(name, given.pop(former))
    return given


def _with_contents_of_files(given: dict[str, object], known: set[str]) -> dict[str, object]:
    """The variables, where NAME_FILE became NAME; raises `SettingsError` where the file cannot be read, or both are set."""
    files = {name: path for name, path in given.items() if name.endswith(FILE) and name.removesuffix(FILE) in known}
    read: dict[str, object] = {}
    for name, path in files.items():
        variable = name.removesuffix(FILE)
        if variable in given:
            raise SettingsError(f"{variable.upper()} and {name.upper()} are both set. Unset one of them.")
        try:
            read[variable] = Path(str(path)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise SettingsError(f"{name.upper()} names {path}, which cannot be read: {reason}.") from None
        if not read[variable]:
            raise SettingsError(
                f"{name.upper()} names {path}, which is empty. Write the value of {variable.upper()} there."
            )
    return {**{name: value for name, value in given.items() if name not in files}, **read}


def _decoded(value: object, info: FieldInfo) -> object:
    """A list or an object is written as JSON in a variable."""
    if not isinstance(value, str) or get_origin(info.annotation) not in (tuple, dict):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # the validation refuses the text and names the variable
