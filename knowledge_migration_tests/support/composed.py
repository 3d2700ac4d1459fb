"""The services of `deploy/compose.yaml` as processes of this machine, with the commands and the variables of the containers.

Names of containers become loopback addresses with free ports, and paths in containers become folders of the test.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from knowledge_migration.demo.live_application import free_port
from knowledge_migration_tests.support.conditions import comes_true

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service.get("build") == ".."]
DEFAULTED = re.compile(r"\$\{(\w+):-(.*?)\}")
PORT = re.compile(r"\b(8000|8080|4000|3000|5432)\b")
START_SECONDS = 300.0


def dockerfile() -> list[list[str]]:
    """The instructions of the Dockerfile, as words; comments are left out."""
    lines = [line for line in (PROJECT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    return [shlex.split(line) for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def image_variables() -> dict[str, str]:
    """The variables that the image sets for every process."""
    return dict(word.split("=", 1) for line in dockerfile() if line[0] == "ENV" for word in line[1:])


@dataclass
class Composed:
    """The processes that were started, below one folder."""

    folder: Path
    ports: dict[str, int]
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    def here(self, text: str) -> str:
        """A text of the file as it is on this machine; a variable that is not set has its default."""
        text = DEFAULTED.sub(lambda found: os.environ.get(found[1]) or found[2], text)
        text = re.sub(
            r"\b0\.0\.0\.0\b|(?<=//)(service|code)\b|(?<=@)(postgres|scratch)\b|(?<=host: )code\b", "127.0.0.1", text
        )
        for inside in ("/run/secrets", "/var/lib/knowledge_migration", "/tmp/worker.alive"):
            text = text.replace(inside, str(self.folder / inside.rsplit("/", 1)[1]))
        return PORT.sub(lambda found: str(self.ports[found[0]]), text)

    def prepare(self) -> None:
        """The files of the containers: secrets as the script of the document writes them, and what is mounted in /app."""
        script = self.folder / "deploy" / "compose" / "secrets"
        script.parent.mkdir(parents=True)
        script.write_bytes((FOLDER / "compose" / "secrets").read_bytes())
        subprocess.run(["bash", script], check=True)
        (self.folder / "secrets").mkdir()
        for secret in (self.folder / "deploy" / "secrets").iterdir():
            (self.folder / "secrets" / secret.name).write_text(self.here(secret.read_text()))
        app = self.folder / "app"
        app.mkdir()
        (app / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
        (app / "workspace.yaml").write_text(self.here((FOLDER / "compose" / "workspace.yaml").read_text()))
        (app / "examples").symlink_to(PROJECT / "examples")

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a container: those of the image, and those of its service."""
        of_image = {key: self.here(value) for key, value in image_variables().items() if key != "PATH"}
        of_service = {key: self.here(value) for key, value in SERVICES[name].get("environment", {}).items()}
        here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
        return {**os.environ, **of_image, "DAGSTER_HOME": str(self.folder / "app"), **of_service, **here}

    def start(self, name: str) -> None:
        """Starts a service and waits until its health check succeeds."""
        command = [self.here(word) for word in SERVICES[name]["command"]]
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.environment(name),
                cwd=self.folder / "app",
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            comes_true(lambda: self.is_healthy(name) or not self.is_running(name), seconds=START_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{name}: {log.read_text()}") from None
        assert self.is_running(name), log.read_text()

    def is_running(self, name: str) -> bool:
        """Whether the process has not ended."""
        return self.processes[name].poll() is None

    def is_healthy(self, name: str) -> bool:
        """Whether the health check of the service succeeds."""
        kind, *words = (self.here(word) for word in SERVICES[name]["healthcheck"]["test"])
        command = ["sh", "-c", words[0].replace("$$", "$")] if kind == "CMD-SHELL" else words
        checked = subprocess.run(
            command, env=self.environment(name), cwd=self.folder / "app", capture_output=True, check=False, timeout=120
        )
        return checked.returncode == 0

    def stop(self) -> None:
        """Ends the processes in reverse order, as `docker compose down` does."""
        while self.processes:
            _, process = self.processes.popitem()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(30)


def in_order() -> list[str]:
    """Our services, each after those that it depends on."""
    ordered: list[str] = []
    while waiting := [name for name in OURS if name not in ordered]:
        ordered.append(next(name for name in waiting if not _dependencies(name) - set(ordered)))
    return ordered


def _dependencies(name: str) -> set[str]:
    return set(SERVICES[name].get("depends_on", {})) & set(OURS)


@contextmanager
def composed(folder: Path, ports: Mapping[str, int]) -> Iterator[Composed]:
    """The files of the containers are in place; what is started ends with the block."""
    taken = {port: free_port() for port in ("8000", "8080", "4000", "3000")}
    here = Composed(folder, {**taken, **ports})
    here.prepare()
    try:
        yield here
    finally:
        here.stop()
