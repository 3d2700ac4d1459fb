"""The processes of the demonstration's live application: the knowledge service and its traffic."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from knowledge_migration.engine.foundation.errors import MigrationError

START_SECONDS = 60.0
STOP_SECONDS = 90.0
REQUESTS_PER_SECOND = 28
EXTRACT_SHARE_PERCENT = 40
USERS = 8  # on a busy machine they wait for their answers instead of asking for more


def service_arguments(port: int) -> list[str]:
    """The command of the demonstration's service."""
    return ["serve", "--port", str(port), "--allow-faults"]


def traffic_arguments(url: str) -> list[str]:
    """The command of its traffic."""
    options = {"--rate": REQUESTS_PER_SECOND, "--extract-share": EXTRACT_SHARE_PERCENT, "--users": USERS}
    return ["traffic", "--url", url, *(str(part) for option in options.items() for part in option)]


def start_process(arguments: list[str], log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A command of this project as a process in a session of its own, with its output in a new file."""
    command = [sys.executable, "-m", "knowledge_migration.commands.main", *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def require_healthy(service: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Waits for the service; raises `MigrationError` naming its log when it does not become healthy."""
    if not wait_until_healthy(url, is_alive=lambda: service.poll() is None):
        raise MigrationError(f"The knowledge service did not start at {url}; see {log}.")


@contextmanager
def running_process(
    arguments: list[str], log: Path, environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of this project as a process, which ends with the block."""
    process = start_process(arguments, log, environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(url: str, is_alive: Callable[[], bool] = lambda: True) -> bool:
    """True if the service at this address is healthy within a minute."""
    until = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=5) as client:  # made once: it loads all certificates of the system
        while time.monotonic() < until and is_alive():
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return True
            except httpx.HTTPError:
                time.sleep(0.1)
    return False


def free_port() -> int:
    """A free loopback port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
