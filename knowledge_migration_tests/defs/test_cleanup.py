"""Phase 5 as Dagster runs it: the job's assets and blocking checks on a real database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from knowledge_migration.defs import cleanup
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import name_database
from knowledge_migration_tests.support.fingerprinted import take_fingerprint

RUN = "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, created_at) VALUES "
OLD = RUN + "('completed', '[]', 0, now() - interval '40 days'), ('completed', '[]', 0, now() - interval '20 days')"


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The settings name the test's database at full cutover; no service runs, and somebody says so."""
    name_database(monkeypatch, expanded, tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS", "true")
    change(expanded, FULL)
    take_fingerprint(expanded)
    return expanded


@pytest.fixture
def rows(named: Database) -> Iterator[Connection]:
    """A session to look at what is there."""
    with named.connect("test") as connection:
        yield connection


def run(**config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    """The job, with the configuration of its assets."""
    ops = {name: {"config": values} for name, values in config.items()}
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            definitions()
            .resolve_job_def("phase_5_cleanup")
            .execute_in_process(run_config={"ops": ops}, instance=instance, raise_on_error=False)
        )


def may_drop_idle(patch: pytest.MonkeyPatch) -> None:
    """Puts the index `idle` on the stated list."""
    patch.setenv("CLEANUP_DROP_INDEXES", '["idle"]')


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The words of the first step that failed."""
    event = next(event for event in result.all_events if event.is_step_failure)
    return str(event.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]


def test_before_two_weeks_the_job_stops_at_the_retirement(named: Database, rows: Connection) -> None:
    rows.execute(OLD)
    result = run()
    assert not result.success
    assert "of the required 14 days are missing" in failure(result)
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_archive") == 0


def test_with_an_override_the_whole_phase_runs_and_every_check_passes(
    named: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.execute(OLD)
    may_drop_idle(monkeypatch)
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    result = run(legacy_path_retirement={"override": "a rehearsal"})
    assert result.success
    checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert checks == {
        "requirements_are_met": True,
        "full_cutover_is_stable": True,
        "old_paths_are_retired": True,
        "every_row_must_come_from_a_proposal": True,
        "nothing_linked_was_archived": True,
        "every_index_is_valid": True,
    }
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_archive") == 1
    assert count(rows, "SELECT count(*) FROM pg_class WHERE relname = 'idle'") == 0
    assert run().success


def test_a_linked_proposal_in_the_archive_stops_what_comes_after(
    named: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_drop_idle(monkeypatch)
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    rows.execute(
        "INSERT INTO knowledge_extraction_archive (id, run, topic_proposals, atom_proposals) "
        "VALUES (gen_random_uuid(), '{}', '[]', '[]')"
    )
    result = run(legacy_path_retirement={"override": "a rehearsal"})
    assert not result.success
    assert count(rows, "SELECT count(*) FROM pg_class WHERE relname = 'idle'") == 1


def test_every_asset_says_how_to_undo_it_and_every_check_blocks() -> None:
    specs = [spec for spec in definitions().resolve_all_asset_specs() if spec.group_name == cleanup.GROUP]
    assert len(specs) == 3
    assert all("Undo" in (spec.description or "") for spec in specs)
    assert all(spec.blocking for check in cleanup.CHECKS for spec in check.check_specs)
