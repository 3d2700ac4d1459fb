"""Settings: the strategy's defaults, each bad value refused by its name and reason, and no password in any message."""

import os
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database, UnreachableError
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.settings import BackfillSettings, SettingsError, load_settings, variables

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, and no `.env` in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() & {variable.upper() for variable, *_ in variables()}:
        monkeypatch.delenv(name)


def test_the_defaults_are_those_of_the_strategy() -> None:
    settings = load_settings()
    strategy = {
        "knowledge_proposals_enabled": False,
        "knowledge_proposals_dual_write": False,
        "knowledge_proposals_cutover_percentage": 0,
        "knowledge_proposals_auto_approve_high_confidence": True,
        "knowledge_proposals_auto_approve_threshold": 0.95,
        "migration_batch_size": 100,
        "migration_rate_limit_per_second": 10,
    }

    assert {
        variable: getattr(getattr(settings, section), field)
        for variable, section, field, _ in variables()
        if variable in strategy
    } == strategy
    assert settings.uses_demonstration


def test_every_setting_says_what_it_means() -> None:
    silent = [variable for variable, _, _, field in variables() if not (field.description or "").endswith(".")]

    assert silent == []


def test_a_setting_is_read_from_the_environment_before_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MIGRATION_BATCH_SIZE=7\nddl_lock_attempts=8\nUNKNOWN=x\nBASELINE_SAMPLES=\n")
    monkeypatch.setenv("DDL_LOCK_ATTEMPTS", "9")
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", "")

    settings = load_settings()

    assert (settings.backfill.batch_size, settings.schema_change.attempts, settings.performance.baseline_samples) == (
        7,
        9,
        200,
    )
    assert settings.installation.database_url is None
    assert settings.home == tmp_path / ".knowledge_migration"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MIGRATION_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("MIGRATION_BATCH_SIZE", "many", "valid integer"),
        ("MIGRATION_BATCH_SIZE", "1.5", "valid integer"),
        ("MIGRATION_RATE_LIMIT_PER_SECOND", "-1", "greater than or equal to 0"),
        ("MIGRATION_RATE_LIMIT_PER_SECOND", "inf", "finite number"),
        ("MIGRATION_STATEMENT_TIMEOUT_MS", "2147483648", "less than or equal to 2147483647"),
        ("DDL_LOCK_TIMEOUT_MS", "1001", "less than or equal to 1000"),
        ("DDL_LOCK_TIMEOUT_MS", "0", "greater than or equal to 1"),
        ("DDL_RETRY_MAX_SECONDS", "nan", "finite number"),
        ("INDEX_BUILD_TIMEOUT_MINUTES", "36000", "less than or equal to 35791"),
        ("NEAR_DUPLICATE_SIMILARITY_PERCENT", "101", "less than or equal to 100"),
        ("KNOWLEDGE_PROPOSALS_CUTOVER_PERCENTAGE", "101", "less than or equal to 100"),
        ("KNOWLEDGE_PROPOSALS_AUTO_APPROVE_THRESHOLD", "1.01", "less than or equal to 1"),
        ("KNOWLEDGE_PROPOSALS_ENABLED", "perhaps", "valid boolean"),
        ("KNOWLEDGE_MIGRATION_RULES_SAMPLE", "1001", "less than or equal to 1000"),
        ("KNOWLEDGE_MIGRATION_BACKUPS", "s4://bucket/folder", "fsspec knows.*s3://bucket/folder"),
        ("KNOWLEDGE_MIGRATION_BACKUPS", f"sftp://ada:{SECRET}@host/folder", "holds a password"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_name_and_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=f"{name} .*{reason}.* Correct them and start again") as refused:
        load_settings()
    assert SECRET not in str(refused.value)


def test_a_secret_is_read_from_the_file_that_a_variable_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"postgresql://ada:{SECRET}@host/tasks\n")
    (tmp_path / "token").write_text("a token of sixteen letters")
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("KNOWLEDGE_API_ADMIN_TOKEN_FILE", str(tmp_path / "token"))

    settings = load_settings()

    assert settings.service.token == "a token of sixteen letters"
    assert Database(settings.installation.database_url.get_secret_value()).name == "tasks"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "variables", "reason"),
    [
        (None, {}, "MIGRATION_BATCH_SIZE_FILE names .*missing, which cannot be read: No such file"),
        ("", {}, "which is empty. Write the value of MIGRATION_BATCH_SIZE there"),
        ("7", {"MIGRATION_BATCH_SIZE": "8"}, "MIGRATION_BATCH_SIZE and MIGRATION_BATCH_SIZE_FILE are both set"),
        ("many", {}, "MIGRATION_BATCH_SIZE .*valid integer"),
    ],
)
def test_a_file_that_holds_no_value_is_refused_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, variables: dict[str, str], reason: str
) -> None:
    file = tmp_path / ("missing" if content is None else "there")
    if content is not None:
        file.write_text(content)
    for name, value in {"MIGRATION_BATCH_SIZE_FILE": str(file), **variables}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=reason):
        load_settings()


def test_all_refused_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASELINE_SAMPLES", "1")
    monkeypatch.setenv("FINGERPRINT_RANGE_IDS", "0")

    with pytest.raises(SettingsError, match=r"FINGERPRINT_RANGE_IDS .*; BASELINE_SAMPLES "):
        load_settings()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"mysql://ada:{SECRET}@host/tasks", "is not a PostgreSQL URL"),
        (f"sqlite:///{SECRET}.db", "is not a PostgreSQL URL"),
        (f"postgresql://ada:{SECRET}@host:5432", "names no database"),
        (f"postgresql://ada:{SECRET}@host:5432/", "names no database"),
        (f"host=db password={SECRET}", "names no database"),
        (f"host=db passwort={SECRET} dbname=tasks", "is not a URL"),
        (f"postgresql://ada:{SECRET}@host:54x2,other/tasks", "is not a URL"),
        (f"postgresql://ada:{SECRET}@host/tasks?connection_limit={SECRET}", "holds connection_limit"),
        (f"postgresql://ada:{SECRET}@host/tasks?schema=app", "holds schema"),
        (f"postgresql://ada:{SECRET}@host/tasks?ssl=true", "holds ssl, .*sslmode=require"),
        (f"postgresql://host:{SECRET}/tasks", "is not a URL"),
    ],
)
@pytest.mark.parametrize("which", ["DATABASE", "SCRATCH", "DAGSTER"])
def test_an_address_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, which: str, url: str, reason: str
) -> None:
    monkeypatch.setenv(f"KNOWLEDGE_MIGRATION_{which}_URL", url)

    with pytest.raises(SettingsError, match=f"KNOWLEDGE_MIGRATION_{which}_URL {reason}") as refused:
        load_settings()

    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@host:5432/tasks",
        f"postgresql+asyncpg://ada:{SECRET}@host/tasks",
        f"postgres://ada:{SECRET}@host/tasks",
        f"postgresql:///tasks?host=/run/postgresql&password={SECRET}",
        f"postgresql://ada@/tasks?host=one:5432&host=two:5433&password={SECRET}&sslpassword={SECRET}",
        f"postgresql://ada:{SECRET}@one,two/tasks",
        f"host=one user=ada password={SECRET} dbname=tasks",
        f"jdbc:postgresql://one/tasks?user=ada&password={SECRET}",
    ],
)
def test_a_password_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", url)
    settings = load_settings()
    assert settings.installation.database_url is not None
    database = Database(settings.installation.database_url.get_secret_value())

    assert SECRET not in f"{settings!r} {settings.model_dump()} {database!r} {database.display}"
    assert conninfo_to_dict(database.conninfo)["password"] == SECRET
    assert database.name == "tasks"


def test_dagster_s_own_tables_never_share_the_migrated_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", f"postgresql://ada:{SECRET}@host/tasks")
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DAGSTER_URL", "postgresql+psycopg://dagster@host:5432/tasks")
    with pytest.raises(SettingsError, match="KNOWLEDGE_MIGRATION_DAGSTER_URL is the database to migrate"):
        load_settings()

    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", "postgresql://ada@/tasks?host=one:1&host=two:2")
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DAGSTER_URL", "postgresql://dagster@one:1,two:2/tasks")
    with pytest.raises(SettingsError, match="KNOWLEDGE_MIGRATION_DAGSTER_URL is the database to migrate"):
        load_settings()

    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DAGSTER_URL", "postgresql://dagster@host/dagster")
    assert load_settings().installation.dagster_url is not None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ada:a%20b%2Bc@host/tasks", {"user": "ada", "password": "a b+c", "host": "host"}),
        ("postgresql://ada:100%@host:6432/tasks", {"password": "100%", "port": "6432"}),
        (
            "postgresql:///tasks?host=/var/my%20run&application_name=a+b",
            {"host": "/var/my run", "application_name": "a b"},
        ),
        ("postgresql://ada@/tasks?host=one:5432&host=two:5433", {"host": "one,two", "port": "5432,5433"}),
        ("postgresql://host/tasks?options=-c%20role%3Downer", {"options": "-c role=owner"}),
        (
            "postgresql://ada:p%40,w@one:5432,[::1],three/tasks?target_session_attrs=read-write",
            {"password": "p@,w", "host": "one,::1,three", "port": "5432,,", "target_session_attrs": "read-write"},
        ),
        ("postgresql://ada@%2Fvar%2Frun:6432/tasks", {"user": "ada", "host": "/var/run", "port": "6432"}),
        ("postgresql://%2Fvar%2Frun/tasks", {"host": "/var/run", "port": None}),
        ("postgresql+asyncpg://ada@host/tasks?ssl=disable", {"host": "host", "sslmode": "disable"}),
        ("postgresql://ada@host/tasks?schema=public&pgbouncer=true", {"host": "host"}),
        (' "postgresql://ada@host/tasks"\n', {"user": "ada", "host": "host"}),
        ("jdbc:postgresql://host:1/tasks?user=ada&password=x", {"user": "ada", "password": "x", "port": "1"}),
        ("host=one,two port=1,2 user=ada password='a b' dbname=tasks", {"host": "one,two", "password": "a b"}),
    ],
)
def test_an_address_reaches_libpq_as_it_was_written(url: str, expected: dict[str, Any]) -> None:
    found = conninfo_to_dict(Database(url).conninfo)

    assert {key: found.get(key) for key in expected} == expected
    assert found["dbname"] == "tasks"
    assert conninfo_to_dict(Database(url).sibling("other").conninfo) == {**found, "dbname": "other"}


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    database = Database(f"postgresql://ada:{SECRET}@127.0.0.1:1/tasks")

    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1/tasks") as away, database.connect():
        pass

    assert SECRET not in str(away.value)


def test_the_embedded_server_says_when_its_directory_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="KNOWLEDGE_MIGRATION_HOME"):
        embedded_server.start(tmp_path / "my home" / "postgresql")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().backfill.batch_size = 5  # type: ignore[misc]


def test_a_section_that_code_builds_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_BATCH_SIZE", "7")

    assert BackfillSettings(lock_timeout_ms=5).batch_size == 100
    with pytest.raises(ValueError, match="less than or equal to 50000"):
        BackfillSettings().replaced(batch_size=50_001)


@pytest.mark.parametrize(
    ("gates", "reason"),
    [
        ('{"api_error_rat": {}}', "names no gate: api_error_rat"),
        ('{"api_error_rate": {"minimum_sample": -1}}', "api_error_rate: minimum_sample: .*greater than or equal to 0"),
        ('{"api_error_rate": {"minimum": 1}}', "api_error_rate: minimum"),
        ('{"api_error_rate": {"unit": "of pages"}}', "cannot change unit of api_error_rate"),
        ('{"api_error_rate": 0.5}', "is not a JSON object of metrics and their changes"),
        ("[]", "is not a JSON object of metrics and their changes"),
        ("every", "is not a JSON object of metrics and their changes"),
    ],
)
def test_a_change_of_the_threshold_table_that_changes_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, gates: str, reason: str
) -> None:
    monkeypatch.setenv("CUTOVER_GATES", gates)

    with pytest.raises(SettingsError, match=f"CUTOVER_GATES .*{reason}"):
        load_settings()


def test_a_list_that_is_not_json_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_DROP_INDEXES", "ix_one, ix_two")

    with pytest.raises(SettingsError, match="CLEANUP_DROP_INDEXES Input should be a valid tuple"):
        load_settings()


def test_a_value_that_a_test_gives_has_precedence_and_a_misspelt_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WRITER_LIVE_SECONDS", "7")
    settings = load_settings(writer_live_seconds=9)

    assert (settings.fence.live_seconds, settings.service.live_seconds) == (9, 9)
    with pytest.raises(SettingsError, match="WRITER_LIFE_SECONDS is no setting"):
        load_settings(writer_life_seconds=9)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KNOWLEDGE_MIGRATION_BATCH_SIZE", "MIGRATION_BATCH_SIZE"),
        ("MIGRATION_BATCHSIZE", "MIGRATION_BATCH_SIZE"),
        ("KNOWLEDGE_LLM_APIKEY", "KNOWLEDGE_LLM_API_KEY"),
        ("CUTOVER_BAKE_MINUTE", "CUTOVER_BAKE_MINUTES"),
    ],
)
def test_a_misspelled_variable_is_refused_with_the_setting_that_it_resembles(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "5")
    with pytest.raises(SettingsError, match=rf"{variable} is no setting. Did you mean {meant}\?"):
        load_settings()


@pytest.mark.parametrize("variable", ["DATABASE_URL", "MIGRATION_DIR", "KNOWLEDGE_BASE_URL", "BACKUP_DIR"])
def test_a_variable_of_the_application_is_none_of_ours(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "5")
    load_settings()


def test_a_former_name_still_works_and_the_present_one_has_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_UNREHEARSED", "before")
    assert load_settings().rehearsal.skip_reason == "before"
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON", "now")
    assert load_settings().rehearsal.skip_reason == "now"
