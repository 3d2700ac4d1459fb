"""The configuration of several machines is that of one machine, but for what starts and watches the runs."""

import yaml

from knowledge_migration_tests.support.celery_machines import FILES, PROJECT


def test_the_configuration_of_the_machines_equals_that_of_one_machine_but_for_the_workers() -> None:
    one, several = (yaml.safe_load((folder / "dagster.yaml").read_text()) for folder in (PROJECT, FILES))
    del several["run_launcher"], several["run_retries"], several["concurrency"]["runs"]
    for added in ("poll_interval_seconds", "max_resume_run_attempts"):
        del several["run_monitoring"][added]
    assert several == one
