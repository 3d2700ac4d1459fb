"""Runs as Celery tasks, as deploy/celery/dagster.yaml names them, with workers that are watched (needs the extra `celery`).

The launcher of dagster-celery knows only the last state that a task reported: the run of a killed worker would be in
progress forever, with its pool slots.
"""

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

ANSWER_SECONDS = 5.0
QUESTIONS = 2


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """The launcher of dagster-celery, which also asks the worker of a run whether it works on it."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """The state that the task reported; failed where its worker does not answer or does not have the task."""
        health = super().check_run_worker_health(run)
        if health.status != WorkerStatus.RUNNING:
            return health
        task = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG])
        started = task.info
        worker = started["hostname"] if isinstance(started, dict) else ""  # a result, if it has ended since
        if any(self._works_on(worker, task.id) for _ in range(QUESTIONS)):
            return health
        ended = super().check_run_worker_health(run)  # meanwhile
        if ended.status != WorkerStatus.RUNNING:
            return ended
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"The Celery worker {worker} does not work on this run any more."
        )

    def _works_on(self, worker: str, task_id: str) -> bool:
        inspection = self.celery.control.inspect(destination=[worker], limit=1, timeout=ANSWER_SECONDS)
        tasks = (inspection.active() or {}).get(worker, [])
        return any(task["id"] == task_id for task in tasks)
