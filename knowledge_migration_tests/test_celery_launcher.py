"""The launcher notices that the Celery worker of a run is lost, which dagster-celery does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher

from knowledge_migration import celery_launcher
from knowledge_migration.celery_launcher import WatchedCeleryRunLauncher
from knowledge_migration_tests.support.celery_machines import needs_redis, redis_server
from knowledge_migration_tests.support.conditions import comes_true

# a worker that has the tasks of dagster-celery by name
WORKER = """
import time
from celery import Celery

app = Celery("dagster")


@app.task(name="execute_job", track_started=True)
def execute_job(seconds):
    time.sleep(seconds)
"""
LONG = 120.0


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedCeleryRunLauncher]:
    with redis_server(tmp_path / "redis") as broker:
        for name, value in broker.items():
            monkeypatch.setenv(name, value)
        yield WatchedCeleryRunLauncher("dagster", broker["CELERY_BROKER_URL"], broker["CELERY_RESULT_BACKEND"])


@pytest.fixture
def worker(launcher: WatchedCeleryRunLauncher, tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    (tmp_path / "tasks_of_the_worker.py").write_text(WORKER)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks_of_the_worker",
        "worker",
        "-c",
        "1",
        "-Q",
        "dagster",
        "-n",
        "w@here",
    ]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    yield process
    lose(process)


def lose(worker: "subprocess.Popen[bytes]") -> None:
    """Ends all its processes at once, as the loss of the machine does."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(30)


def run_of(launcher: WatchedCeleryRunLauncher, seconds: float) -> dg.DagsterRun:
    """A run whose task the worker has begun."""
    task = launcher.celery.send_task("execute_job", [seconds], queue="dagster")
    comes_true(lambda: task.state in ("STARTED", "SUCCESS"), seconds=LONG)
    return dg.DagsterRun("a_job", tags={"dagster-celery/task_id": task.id})


@needs_redis
@pytest.mark.usefixtures("worker")
def test_a_run_is_healthy_while_its_worker_works_on_it_and_after_it_has_ended(
    launcher: WatchedCeleryRunLauncher,
) -> None:
    assert launcher.check_run_worker_health(run_of(launcher, 0)).status in (WorkerStatus.RUNNING, WorkerStatus.SUCCESS)
    assert launcher.check_run_worker_health(run_of(launcher, LONG)).status == WorkerStatus.RUNNING


@needs_redis
def test_a_run_whose_worker_is_lost_has_failed(
    launcher: WatchedCeleryRunLauncher, worker: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(launcher, LONG)
    lose(worker)
    monkeypatch.setattr(celery_launcher, "ANSWER_SECONDS", 0.5)

    health = launcher.check_run_worker_health(run)
    assert (health.status, health.msg or "") == (
        WorkerStatus.FAILED,
        "The Celery worker w@here does not work on this run any more.",
    )
    # the reason for ours: once dagster-celery notices it, the subclass is not needed any more
    assert CeleryRunLauncher.check_run_worker_health(launcher, run).status == WorkerStatus.RUNNING
