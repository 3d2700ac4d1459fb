"""The application of the demonstration while its database is migrated: the service, and users who work with it.

Both are processes of their own, as in a team's production; they stop when the migration has ended, and the users then say
what they have seen.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from knowledge_migration.engine.foundation.errors import MigrationError

START_SECONDS = 60.0
STOP_SECONDS = 90.0
REQUESTS_PER_SECOND = 20
EXTRACT_SHARE_PERCENT = 40


@dataclass
class LiveApplication:
    """Where the service answers while it runs; what its users saw once it has stopped."""

    url: str
    traffic: dict[str, Any] | None = None


@contextmanager
def live_application(logs: Path) -> Iterator[LiveApplication]:
    """Runs the service on the database of the settings, with traffic, while the block runs."""
    logs.mkdir(parents=True, exist_ok=True)
    port = free_port()
    application = LiveApplication(f"http://127.0.0.1:{port}")
    report = Path(tempfile.mkdtemp(prefix="traffic_")) / "report.json"
    environment = {**os.environ, "KNOWLEDGE_SERVICE_URL": application.url}
    with running_process(
        ["serve", "--port", str(port), "--allow-faults"], logs / "service.log", environment
    ) as service:
        _wait_until_well(application.url, service, logs / "service.log")
        arguments = ["traffic", "--rate", str(REQUESTS_PER_SECOND), "--extract-share", str(EXTRACT_SHARE_PERCENT)]
        arguments += ["--report", str(report)]
        with running_process(arguments, logs / "traffic.log", environment) as traffic:
            yield application
            traffic.send_signal(signal.SIGTERM)
            traffic.wait(STOP_SECONDS)
        if not report.exists():
            raise MigrationError(f"The traffic ended without a report; {logs / 'traffic.log'} says why.")
        application.traffic = json.loads(report.read_text(encoding="utf-8"))


@contextmanager
def running_process(
    arguments: list[str], log: Path, environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of ours as a process, ended with the block."""
    command = [sys.executable, "-m", "knowledge_migration.commands.main", *arguments]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_well(url: str, service: "subprocess.Popen[bytes]", log: Path) -> None:
    if not wait_until_well(url, is_alive=lambda: service.poll() is None):
        raise MigrationError(f"The knowledge service did not start at {url}; {log} says why.")


def wait_until_well(url: str, is_alive: Callable[[], bool] = lambda: True) -> bool:
    """Whether the service at an address became well within a minute."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and is_alive():
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return True
        except httpx.HTTPError:
            time.sleep(0.1)
    return False


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
