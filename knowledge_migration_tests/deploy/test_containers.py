"""The image and the topology: linted, pinned, without root and without open ports, and naming only what exists.

The same topology runs as processes with the commands, variables, secrets and health checks of the containers.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from knowledge_migration.demo.live_application import free_port
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.settings import load_settings, variables
from knowledge_migration_tests.support.composed import (
    COMPOSE,
    FOLDER,
    OURS,
    PROJECT,
    SERVICES,
    composed,
    dockerfile,
    in_order,
)
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.otlp_receiver import otlp_receiver, ours
from knowledge_migration_tests.support.own_server import own_server
from knowledge_migration_tests.support.webserver import Webserver

TOOLS = Path(sys.executable).parent
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")
BLOCK = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+).*?\n((?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE)


def succeeds(*command: object) -> None:
    """Runs a tool of the environment."""
    words = [str(word) for word in command]
    done = subprocess.run([TOOLS / words[0], *words[1:]], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_accepts_the_dockerfile() -> None:
    succeeds("hadolint", "Dockerfile")


def test_the_topology_is_valid_by_the_schema_of_compose() -> None:
    succeeds("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml")


def test_every_image_has_a_version() -> None:
    bases = [line[1] for line in dockerfile() if line[0] == "FROM"]
    images = [*bases, *(service["image"] for service in SERVICES.values())]
    assert len(images) > 5
    assert [image for image in images if not PINNED.fullmatch(image)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_checked_restarted_without_root_and_reached_from_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert int(service["user"].split(":")[0]) > 0
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []
    assert {"privileged", "network_mode", "cap_add"} & set(service) == set()


def test_a_service_waits_until_what_it_needs_is_healthy() -> None:
    waits = [wait for service in SERVICES.values() for wait in service.get("depends_on", {}).items()]
    assert {condition["condition"] for _, condition in waits} == {"service_healthy"}
    assert {name for name, _ in waits} <= set(SERVICES)
    assert set(in_order()) == set(OURS)


def test_the_image_runs_as_a_user_of_its_own() -> None:
    final = dockerfile()[max(number for number, line in enumerate(dockerfile()) if line[0] == "FROM") :]
    (user,) = (line[1] for line in final if line[0] == "USER")
    assert {SERVICES[name]["user"] for name in OURS} == {user}


def test_what_is_mounted_or_copied_exists_and_no_secret_is_copied() -> None:
    mounted = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())]
    files = [mount for mount in mounted if mount.startswith(".")]
    assert len(files) > 5
    assert [file for file in files if not (FOLDER / file).is_file()] == []
    assert set(mounted) - set(files) == set(COMPOSE["volumes"])
    allowed = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        word.rstrip("/") for line in dockerfile() if line[0] == "COPY" for word in line[1:-1] if "--from" not in line[1]
    ]
    assert set(copied) == set(allowed)
    assert all((PROJECT / path).exists() for path in copied)


def test_the_script_writes_every_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "deploy" / "compose" / "secrets"
    script.parent.mkdir(parents=True)
    script.write_bytes((FOLDER / "compose" / "secrets").read_bytes())
    contents: list[dict[str, str]] = []
    for _ in range(2):
        subprocess.run(["bash", script], check=True)
        contents.append({file.name: file.read_text() for file in (tmp_path / "deploy" / "secrets").iterdir()})

    assert contents[0] == contents[1]
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"]) == set(contents[0])
    assert all(len(content) > 20 for content in contents[0].values())
    assert (tmp_path / "deploy" / "secrets").stat().st_mode & 0o077 == 0
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/secrets/admin_token"], cwd=PROJECT, check=False)
    assert ignored.returncode in (0, 128)  # 128: no repository, as in a source distribution


def test_every_variable_is_a_setting_and_secrets_are_named_by_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {variable for variable, *_ in variables()}
    secret = re.compile(r"(password|token|_url)$", re.IGNORECASE)
    for name in ("service", "code", "webserver", "daemon"):
        given = {one: value for one, value in SERVICES[name]["environment"].items() if not one.startswith("OTEL_")}
        assert {variable.lower().removesuffix("_file") for variable in given} <= known
        public = ["KNOWLEDGE_SERVICE_URL", "KNOWLEDGE_MIGRATION_DAGSTER_UI_URL"]
        assert [variable for variable in given if secret.search(variable)] == public
        files = {Path(value).name for value in given.values() if value.startswith("/run/secrets/")}
        assert files == set(SERVICES[name]["secrets"])
        plain = {variable.lower(): value for variable, value in given.items() if not variable.endswith("_FILE")}
        monkeypatch.chdir(tmp_path)
        assert load_settings(**plain).installation.log_format == "json"


def blocks(file: str) -> dict[str, tuple[str, str]]:
    """The version and the hashes of each package of a lock file."""
    return {name: (version, hashes) for name, version, hashes in BLOCK.findall((PROJECT / file).read_text())}


def test_the_image_is_pinned_by_what_developers_test() -> None:
    image, developers = blocks("deploy/requirements.lock"), blocks("requirements.lock")
    assert {"dagster", "opentelemetry-sdk", "s3fs", "dagster-k8s", "dagster-celery"} <= set(image)
    assert {"pytest", "playwright", "mypy"} & set(image) == set()
    shared = set(image) & set(developers)
    assert len(shared) > 100
    assert [name for name in sorted(shared) if image[name] != developers[name]] == []


def test_prometheus_scrapes_the_service_with_a_token_by_the_rules_of_the_monitoring() -> None:
    files = (FOLDER / "compose" / "prometheus.yml", FOLDER / "monitoring" / "prometheus.yml")
    ours, theirs = (yaml.safe_load(file.read_text()) for file in files)
    (job,) = ours["scrape_configs"]
    assert job.pop("authorization") == {"type": "Bearer", "credentials_file": "/run/secrets/reviewer_token"}
    assert job.pop("static_configs") == [{"targets": ["service:8000"]}]
    del theirs["scrape_configs"][0]["static_configs"]
    assert ours == theirs
    assert "reviewer_token" in SERVICES["prometheus"]["secrets"]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_processes_of_the_topology_become_healthy_and_a_run_of_the_webserver_prepares_the_migration(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with (
        otlp_receiver() as receiver,
        own_server(server, "listen_addresses=127.0.0.1", f"port={port}"),
        composed(tmp_path, {"5432": port}) as here,
    ):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with_databases(server, here.here("/run/secrets"), port)
        for name in in_order():
            here.start(name)

        served = Webserver(httpx.Client(base_url=f"http://127.0.0.1:{here.ports['3000']}", timeout=120))
        run = served.launch("phase_0_preparation")
        assert run.status == "SUCCESS", (run.failures, run.missing)
        assert run.checks["verified_backup", "requirements_are_met"]
        comes_true(lambda: bool(receiver.named("phase_0_preparation")))
        (phase,) = receiver.named("phase_0_preparation")
        assert (ours(phase)["run_id"], ours(phase)["phase"]) == (run.run_id, "0")
        assert any(span.name.startswith("GET /health") for span in receiver.spans)

        token = (tmp_path / "secrets" / "reviewer_token").read_text()
        asked = httpx.get(
            f"http://127.0.0.1:{here.ports['8000']}/metrics", headers={"Authorization": f"Bearer {token}"}
        )
        assert (asked.status_code, "migration_" in asked.text) == (200, True)
        url = (tmp_path / "secrets" / "database_url").read_text()
        with Database(url).connect("test") as connection:
            comes_true(lambda: analyzed(connection) > 0)
        assert '"run_id"' in (tmp_path / "code.log").read_text()
        assert {name: here.is_healthy(name) for name in OURS} == dict.fromkeys(OURS, True)


def analyzed(connection: Connection) -> int:
    """The messages that the worker has read."""
    row = connection.execute("SELECT count(*) AS rows FROM messages WHERE analyzed").fetchone()
    assert row is not None
    return int(row["rows"])


def with_databases(server: EmbeddedServer, secrets: str, port: int) -> None:
    """Runs the script of the container's first start."""
    script = (FOLDER / "compose" / "databases.sh").read_text().replace("/run/secrets", secrets)
    known = {
        **os.environ,
        "PATH": f"{server.bin_path}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
    }
    done = subprocess.run(["bash", "-c", script], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
