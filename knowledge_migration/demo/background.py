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
NAMES = ("service", "traffic")


def start_application(database: Database, home: Path) -> str:
    """Starts the service with its traffic unless both run already; returns the address.

    Raises `MigrationError` when the service does not become healthy; `BusyError` when somebody else starts it now.
    """
    with database.connect(WORK) as connection, advisory_lock(connection, WORK):
        if len(_running(home)) == len(NAMES) and wait_until_healthy(_recorded(home)["url"]):
            return str(_recorded(home)["url"])
        stop_application(home)
        logs = home / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        _report(home).unlink(missing_ok=True)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(home)}
        service = start_process(service_arguments(port), logs / "service.log", environment)
        try:
            require_healthy(service, url, logs / "service.log")
        except MigrationError:
            service.kill()
            raise
        arguments = [*traffic_arguments(url), "--report", str(_report(home))]
        traffic = start_process(arguments, logs / "traffic.log", environment)
        processes = [{"pid": one.pid, "started": psutil.Process(one.pid).create_time()} for one in (service, traffic)]
        recorded = {"url": url, **dict(zip(NAMES, processes, strict=True))}
        (home / FILE).write_text(json.dumps(recorded), encoding="utf-8")
    return url


def finish_traffic(home: Path) -> dict[str, Any]:
    """Ends the traffic, which verifies its writes, and returns its report; the service continues.

    Raises `MigrationError` when there is no report.
    """
    if traffic := _running(home).get("traffic"):
        _end(traffic)
    try:
        report: dict[str, Any] = json.loads(_report(home).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        log = home / "logs" / "traffic.log"
        raise MigrationError(
            f"The traffic of the demonstration ended without a report; see {log}. Run the job demonstration to start it again."
        ) from error
    return report


def stop_application(home: Path) -> bool:
    """Ends the traffic, then the service; whether any of them ran."""
    running = _running(home)
    for process in reversed(running.values()):
        _end(process)
    (home / FILE).unlink(missing_ok=True)
    return bool(running)


def _end(process: psutil.Process) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()


def _report(home: Path) -> Path:
    return home / "logs" / "traffic.json"


def _recorded(home: Path) -> dict[str, Any]:
    file = home / FILE
    recorded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return recorded


def _running(home: Path) -> dict[str, psutil.Process]:
    """The recorded processes that still run; a process that took over the number of an ended one is not ours."""
    recorded, running = _recorded(home), {}
    for name in NAMES:
        try:
            process = psutil.Process(recorded[name]["pid"])
            if process.create_time() == recorded[name]["started"] and process.status() != psutil.STATUS_ZOMBIE:
                running[name] = process
        except (KeyError, psutil.NoSuchProcess):
            continue
    return running
