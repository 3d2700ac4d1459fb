"""The values for Dagster's Helm chart name what exists: settings, the code location, and keys of the chart's schema."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from knowledge_migration.settings import load_settings, variables

PROJECT = Path(__file__).parents[2]
VALUES: dict[str, Any] = yaml.safe_load((PROJECT / "deploy" / "kubernetes" / "values.yaml").read_text())
(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]
NOT_OURS = {"TMPDIR", "GX_ANALYTICS_ENABLED"}

# from helm/dagster/values.schema.json of the chart, for the parts that the values use
CHART = {
    "": {
        *(
            "additionalInstanceConfig",
            "computeLogManager",
            "dagster-user-deployments",
            "dagsterDaemon",
            "dagsterWebserver",
        ),
        *(
            "global",
            "ingress",
            "migrate",
            "postgresql",
            "pythonLogs",
            "retention",
            "runLauncher",
            "scheduler",
            "telemetry",
        ),
    },
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "postgresql": {
        *("image", "enabled", "postgresqlHost", "postgresqlUsername", "postgresqlPassword", "postgresqlDatabase"),
        *("postgresqlParams", "postgresqlScheme", "service"),
    },
    "global": {"postgresqlSecretName", "dagsterHome", "serviceAccountName", "celeryConfigSecretName"},
    "runLauncher": {"type", "config"},
    "dagsterDaemon": {
        "enabled",
        "image",
        "runCoordinator",
        "runMonitoring",
        "runRetries",
        "sensors",
        "schedules",
        "env",
    },
    "telemetry": {"enabled"},
}
DEPLOYMENT_KEYS = {
    *("name", "image", "dagsterApiGrpcArgs", "codeServerArgs", "includeConfigInLaunchedRuns", "port", "env"),
    *("envConfigMaps", "envSecrets", "annotations", "labels", "resources", "volumeMounts", "volumes", "schedulerName"),
}
MONITORING = {
    *("enabled", "startTimeoutSeconds", "cancelTimeoutSeconds", "maxResumeRunAttempts", "pollIntervalSeconds"),
    "freeSlotsAfterRunEndSeconds",
}


def test_every_key_is_one_of_the_chart() -> None:
    unknown = {part or "values": set(VALUES[part] if part else VALUES) - keys for part, keys in CHART.items()}
    unknown["deployment"] = set(DEPLOYMENT) - DEPLOYMENT_KEYS
    unknown["runMonitoring"] = set(VALUES["dagsterDaemon"]["runMonitoring"]) - MONITORING
    assert {part: keys for part, keys in unknown.items() if keys} == {}


def test_every_variable_is_a_setting_with_a_value_that_it_accepts() -> None:
    given = {name.lower(): value for name, value in DEPLOYMENT["env"].items() if name not in NOT_OURS}
    assert set(given) <= {variable for variable, *_ in variables()}
    assert load_settings(**given).installation.backups == DEPLOYMENT["env"]["KNOWLEDGE_MIGRATION_BACKUPS"]


def test_the_runs_get_the_variables_and_a_directory_that_holds_a_backup() -> None:
    assert DEPLOYMENT["includeConfigInLaunchedRuns"]["enabled"]
    mounted = {mount["mountPath"] for mount in DEPLOYMENT["volumeMounts"]}
    assert {DEPLOYMENT["env"][name] for name in ("KNOWLEDGE_MIGRATION_HOME", "TMPDIR")} <= mounted


def test_the_configuration_of_the_instance_equals_that_of_one_machine() -> None:
    one = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    instance, monitoring = VALUES["additionalInstanceConfig"], VALUES["dagsterDaemon"]["runMonitoring"]
    assert instance["concurrency"] == one["concurrency"]
    assert monitoring["enabled"] == one["run_monitoring"]["enabled"]
    assert monitoring["freeSlotsAfterRunEndSeconds"] == one["run_monitoring"]["free_slots_after_run_end_seconds"]
    celery = yaml.safe_load((PROJECT / "deploy" / "celery" / "dagster.yaml").read_text())
    assert instance["run_retries"] == celery["run_retries"]


def test_the_code_location_loads_as_its_server_does(tmp_path: Path) -> None:
    option, module = DEPLOYMENT["dagsterApiGrpcArgs"]
    assert option == "--module-name"
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate", option, module]
    environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
