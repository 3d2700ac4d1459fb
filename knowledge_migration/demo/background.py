"""The demonstration's application in the background: the service and its traffic, until `knowledge-migration stop`.

A file in the home directory names its processes and its address; a second start finds them.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil

from knowledge_migration.demo.live_application import (
    STOP_SECONDS,
    free_port,
    require_healthy,
    service_arguments,
    start_process,
    traffic_arguments,
    wait_until_healthy,
)
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError

FILE = "demonstration.json"
WORK = "demonstration service"


def start_application(database: Database, home: Path) -> str:
    """Starts the service with its traffic unless both run already; returns the address.

    Raises `MigrationError` when the service does not become healthy; `BusyError` when somebody else starts it now.
    """
    with database.connect(WORK) as connection, advisory_lock(connection, WORK):
        running = _running(home)
        if len(running) == 2 and wait_until_healthy(_recorded(home)["url"]):
            return str(_recorded(home)["url"])
        stop_application(home)
        logs = home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(home)}
        service = start_process(service_arguments(port), logs / "service.log", environment)
        try:
            require_healthy(service, url, logs / "service.log")
        except MigrationError:
            service.kill()
            raise
        traffic = start_process(traffic_arguments(url), logs / "traffic.log", environment)
        processes = [{"pid": one.pid, "started": psutil.Process(one.pid).create_time()} for one in (service, traffic)]
        (home / FILE).write_text(json.dumps({"url": url, "processes": processes}), encoding="utf-8")
    return url


def stop_application(home: Path) -> bool:
    """Ends the traffic, then the service; whether any of them ran."""
    running = _running(home)
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
    (home / FILE).unlink(missing_ok=True)
    return bool(running)


def _recorded(home: Path) -> dict[str, Any]:
    file = home / FILE
    recorded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return recorded


def _running(home: Path) -> list[psutil.Process]:
    """The recorded processes that still run; a process that took over the number of an ended one is not ours."""
    found = []
    for one in _recorded(home).get("processes", []):
        try:
            process = psutil.Process(one["pid"])
            if process.create_time() == one["started"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
