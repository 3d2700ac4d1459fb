"""Machines of `deploy/celery`: a Redis server, workers with a home directory each, and the machine with the UI."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from knowledge_migration.demo.live_application import free_port
from knowledge_migration_tests.support.conditions import comes_true

PROJECT = Path(__file__).parents[2]
FILES = PROJECT / "deploy" / "celery"
DOCUMENT = PROJECT / "docs" / "machines.md"
QUICK: dict[str, dict[str, Any]] = {
    "run_monitoring": {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 1},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
}
"""What makes the test short."""


def documented(program: str) -> list[str]:
    """The command of the document that starts with this program."""
    (line,) = (line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"{program} "))
    return shlex.split(line, comments=True)


needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None and "TESTS_INSIST" not in os.environ,
    reason="needs redis-server (Debian's package redis-server)",
)


@dataclass
class Machine:
    """A machine with its own directories, and its processes."""

    name: str
    folder: Path
    shared: dict[str, str]
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        for part in ("home", "dagster", "temporary"):
            (self.folder / part).mkdir(parents=True)
        settings = yaml.safe_load((FILES / "dagster.yaml").read_text())
        for name, changes in QUICK.items():
            settings[name] = {**settings.get(name, {}), **changes}
        (self.folder / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(settings))

    @property
    def home(self) -> Path:
        """Its home directory."""
        return self.folder / "home"

    @property
    def dagster_home(self) -> Path:
        """Its DAGSTER_HOME."""
        return self.folder / "dagster"

    @property
    def variables(self) -> dict[str, str]:
        """What its processes have in their environment besides that of this one."""
        return {
            **self.shared,
            "KNOWLEDGE_MIGRATION_HOME": str(self.home),
            "DAGSTER_HOME": str(self.dagster_home),
            "TMPDIR": str(self.folder / "temporary"),
        }

    @property
    def log(self) -> str:
        """The output of its worker."""
        return (self.folder / "dagster-celery.log").read_text()

    def start_worker(self) -> None:
        """Starts a worker that takes one run at a time, of the common queue or of its own."""
        self.start("dagster-celery", "-n", self.name, "-q", f"dagster,{self.name}", "--", "--concurrency", "1")

    def start(self, program: str, *words: str) -> None:
        """Runs the command of the document until `lose`."""
        folder = Path(sys.executable).parent
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        command = [folder / program, *documented(program)[1:], *words]
        with (self.folder / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT), **self.variables},
                cwd=PROJECT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)

    def lose(self) -> None:
        """Ends all its processes at once, as the loss of the machine does."""
        while self.processes:
            process = self.processes.pop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@contextmanager
def redis_server(folder: Path) -> Iterator[dict[str, str]]:
    """Answers while the block runs; yields the variables with which Celery uses it."""
    port = free_port()
    folder.mkdir(parents=True)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        comes_true(lambda: _answers(port))
        address = f"redis://127.0.0.1:{port}"
        yield {"CELERY_BROKER_URL": f"{address}/0", "CELERY_RESULT_BACKEND": f"{address}/1"}
    finally:
        process.kill()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
