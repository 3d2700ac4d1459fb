"""Several machines by configuration alone: two Celery workers migrate a database, and one of them is lost half way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.rollback.repair.backup_copy import restored_backup
from knowledge_migration_tests.engine.backfill.backfilling import broken_rules, count
from knowledge_migration_tests.pages.living import living
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.celery_machines import (
    FILES,
    PROJECT,
    Machine,
    documented,
    needs_redis,
    redis_server,
)
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.environment import ANY_SPEED
from knowledge_migration_tests.support.s3_server import BUCKET, s3_server
from knowledge_migration_tests.support.webserver import Run, Webserver, webserver

ROWS = """
INSERT INTO topics (name, description) SELECT 'topic ' || n, 'about ' || n FROM generate_series(1, 40) AS n;
INSERT INTO atoms (type, title, content, confidence, user_approved)
SELECT 'problem', 'atom ' || n, 'content of ' || n, 0.9, true FROM generate_series(1, 1000) AS n;
INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1 + n % 40, n FROM generate_series(1, 1000) AS n;
"""
SETTINGS = {
    "KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON": "a test of several machines",
    "BASELINE_SAMPLES": "20",
    "DUAL_WRITE_MEASURED_PAIRS": "10",
    "DUAL_WRITE_WATCH_SECONDS": "0.2",
    **ANY_SPEED,
    # two partitions of atoms that take ten seconds each: a worker is lost meanwhile
    "MIGRATION_PARTITION_ROWS": "500",
    "MIGRATION_BATCH_SIZE": "5",
    "MIGRATION_RATE_LIMIT_PER_SECOND": "10",
}
PREPARATION = (
    "evidence_store",
    "data_inventory",
    "legacy_fingerprint",
    "verified_backup",
    "data_quality_report",
    "performance_baseline",
)
LINKED = "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NOT NULL"
LOST = "does not work on this run any more"
QUEUE = "dagster-celery/queue"
LONG = 300.0


@dataclass(frozen=True)
class Site:
    """The UI, the two workers, and the storage of Dagster that they share."""

    served: Webserver
    workers: dict[str, Machine]
    instance: dg.DagsterInstance

    def done(self, job: str, worker: str | None = None, **options: object) -> Run:
        """The run of a job by this worker, or by any."""
        run = self.served.launch(job, tags={QUEUE: worker} if worker else {}, **options)  # type: ignore[arg-type]
        assert run.status == "SUCCESS", (run.failures, run.missing)
        assert worker in (None, self.worker_of(run.run_id))
        return run

    def worker_of(self, run_id: str) -> str:
        """The worker that has taken the run."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        state = self.instance.run_launcher.celery.AsyncResult(run.tags["dagster-celery/task_id"])  # type: ignore[attr-defined]
        (name,) = (name for name in self.workers if state.task_id in self.workers[name].log)
        return name


@pytest.fixture
def site(database: Database, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    storage = server.ensure_database(f"dagster_of_{database.name}")
    with s3_server() as credentials, redis_server(tmp_path / "redis") as broker:
        shared = {
            **SETTINGS,
            **credentials,
            **broker,
            "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
            "KNOWLEDGE_MIGRATION_DAGSTER_URL": storage.url,
            "KNOWLEDGE_MIGRATION_BACKUPS": f"s3://{BUCKET}/{database.name}",
        }
        control, *workers = (Machine(name, tmp_path / name, shared) for name in ("control", "one", "two"))
        for name, value in control.variables.items():
            monkeypatch.setenv(name, value)
        try:
            with living(database, control.home):
                for worker in workers:
                    worker.start_worker()
                control.start("dagster-daemon")
                with (
                    webserver(control.home, documented("dagster-webserver"), **control.variables) as served,
                    dg.DagsterInstance.from_config(str(control.dagster_home)) as instance,
                ):
                    yield Site(served, {worker.name: worker for worker in workers}, instance)
        finally:
            for machine in (control, *workers):
                machine.lose()
    with server.admin.connect("tests") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {storage.name} WITH (FORCE)")


@needs_redis
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_workers_migrate_a_database_and_one_finishes_when_the_other_is_lost(
    site: Site, database: Database, connection: Connection, server: EmbeddedServer
) -> None:
    connection.execute(PEOPLE_AND_MESSAGES)
    connection.execute(ROWS)

    refused = site.served.launch("phase_1_schema", tags={QUEUE: "two"})
    assert (refused.status, refused.checks["proposal_schema", "requirements_are_met"]) == ("FAILURE", False)
    site.done("phase_0_preparation", "one", assets=PREPARATION)
    site.done("phase_1_schema", "two")  # it verifies the backup of the other machine
    site.done("phase_2_dual_write", "one")
    site.done("phase_3_plan", "two")
    assert len(site.served.run_ids("phase_1_schema")) == 2, "a refused run is not repeated"

    lost, retried = run_partitions_and_lose_a_worker(site, connection)
    site.done("phase_3_completion")

    assert count(connection, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NULL") == 0
    assert broken_rules(connection) == {}
    assert site.instance.get_run_by_id(retried).tags["dagster/parent_run_id"] == lost  # type: ignore[union-attr]
    assert no_slot_is_held(site)
    for worker in site.workers.values():
        assert list(worker.home.rglob("*.dump*")) == [], "the backup is at its URL only"
    with restored_backup(database, scratch=server.admin, progress=lambda _: None) as restored:
        assert count(restored.connection, "SELECT count(*) FROM atoms") == 1000


def run_partitions_and_lose_a_worker(site: Site, connection: Connection) -> tuple[str, str]:
    """Loses a worker in the middle of a partition; returns the run of that, and the run that repeated it."""
    for partition in site.instance.get_dynamic_partitions("topic_id_ranges"):
        site.done("phase_3_topic_backfill", partition=partition)
    first, second = site.instance.get_dynamic_partitions("atom_id_ranges")
    lost = site.served.submit("phase_3_atom_backfill", partition=first)
    comes_true(lambda: count(connection, LINKED) > 50, seconds=LONG)
    other = site.served.submit("phase_3_atom_backfill", partition=second)
    gone = site.worker_of(lost)
    site.workers[gone].lose()
    assert 50 < count(connection, LINKED) < 1000
    health = CeleryRunLauncher.check_run_worker_health(site.instance.run_launcher, site.instance.get_run_by_id(lost))
    assert health.status == WorkerStatus.RUNNING, (
        "dagster-celery notices a lost worker now; ours is not needed any more"
    )

    assert site.served.ended(lost).status == "FAILURE"
    assert any(LOST in (event.message or "") for event in site.instance.all_logs(lost))
    retried = site.served.next_run("phase_3_atom_backfill", (lost, other))
    assert (retried.status, site.served.ended(other).status) == ("SUCCESS", "SUCCESS"), retried
    assert gone not in (site.worker_of(retried.run_id), site.worker_of(other))
    return lost, retried.run_id


def no_slot_is_held(site: Site) -> bool:
    """Whether no run that has ended holds a slot of the pool."""
    comes_true(lambda: not site.instance.event_log_storage.get_concurrency_info("backfill").claimed_slots, seconds=LONG)
    return True


def test_the_configuration_of_the_machines_equals_that_of_one_machine_but_for_the_workers() -> None:
    one, several = (yaml.safe_load((folder / "dagster.yaml").read_text()) for folder in (PROJECT, FILES))
    del several["run_launcher"], several["run_retries"], several["concurrency"]["runs"]
    for added in ("poll_interval_seconds", "max_resume_run_attempts"):
        del several["run_monitoring"][added]
    assert several == one
