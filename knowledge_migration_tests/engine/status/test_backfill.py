"""A backfill that is killed halfway: what `backfill status` reports, and that another run completes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_migration.engine.backfill import plan
from knowledge_migration.engine.backfill.control import set_control
from knowledge_migration.engine.backfill.plan import EVIDENCE
from knowledge_migration.engine.backfill.quarantine import decide
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.status.backfill import TableStatus, backfill_status
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, count, fill, gone
from knowledge_migration_tests.engine.backfill.process import process
from knowledge_migration_tests.recovering import command

PROPOSALS = "SELECT (SELECT count(*) FROM topic_proposals) + (SELECT count(*) FROM atom_proposals)"


@pytest.fixture
def session(expanded: Database) -> Iterator[Connection]:
    """A session on a database after phase 1, with topics, atoms and a plan."""
    fill(expanded)
    with expanded.connect("test") as connection:
        plans = plan.make_plan(connection, partition_rows=100, max_partitions=200)
        evidence.record(connection, EVIDENCE, {name: made.to_evidence() for name, made in plans.items()})
        yield connection


def test_after_a_kill_the_status_reports_the_progress_and_another_run_completes_it(
    expanded: Database, session: Connection, tmp_path: Path
) -> None:
    assert backfill_status(session).tables == (
        TableStatus("topics", 0, 60, 0, 0, 0, 1, 0),
        TableStatus("atoms", 0, 400, 0, 0, 0, 4, 0),
    )
    with process(expanded) as child:
        child.batches(32)  # 6 of topics and one that finds nothing, 10 and one of each partition of atoms, then 3
        alive = backfill_status(session)
        assert [runner.rolls_back for runner in alive.runners] == [False]
        assert alive.runners[0].application == "knowledge_migration backfill atom"
        assert "continues without intervention" in alive.next_step
        child.kill()
    gone(session)
    dead = backfill_status(session)
    assert dead.tables == (
        TableStatus("topics", 60, 0, 0, 0, 0, 1, 1),
        TableStatus("atoms", 230, 170, 0, 0, 0, 4, 2),
    )
    assert (dead.run, dead.runners, dead.completed_at, dead.waiting) == ("running", (), None, 170)
    said = command(expanded, "backfill", "status", home=tmp_path)
    assert (said.returncode, "230" in said.stdout, "2 of 4" in said.stdout) == (0, True, True), said.stderr
    assert "No runner is alive. Run the backfill again" in said.stdout
    assert count(session, PROPOSALS) == 290

    backfill(expanded)
    done = backfill_status(session)
    assert [(table.unlinked, table.partitions_done) for table in done.tables] == [(0, 1), (0, 4)]
    assert (done.run, done.next_step) == ("completed", "The backfill is complete.")
    assert (count(session, PROPOSALS), broken_rules(session)) == (460, {})
    assert count(session, "SELECT count(*) FROM knowledge_extraction_runs") == 1


def test_quarantined_rows_are_counted_apart_from_waiting_rows(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id IN (3, 150, 300, 301)")
    backfill(expanded)
    decide(session, "atom", [150], "accept", note="a test")
    decide(session, "atom", [300], "retry", note="a test")
    now = backfill_status(session)
    assert now.tables[1] == TableStatus("atoms", 396, 4, 2, 1, 1, 4, 3)
    assert (now.waiting, "No runner is alive" in now.next_step) == (1, True)
    decide(session, "atom", [300], "accept", note="a test")
    assert backfill_status(session).next_step == "2 rows wait for a decision: knowledge-migration quarantine list."


def test_rows_above_the_plan_wait_for_the_sweep_and_make_no_partition_undone(
    expanded: Database, session: Connection
) -> None:
    backfill(expanded)
    session.execute("INSERT INTO topics (name, description) VALUES ('new', '')")
    now = backfill_status(session)
    assert now.tables[0] == TableStatus("topics", 60, 1, 0, 0, 0, 1, 1)
    assert "Run the backfill again" in now.next_step


def test_a_pause_and_a_rollback_are_reported(expanded: Database, session: Connection) -> None:
    set_control(session, paused=True)
    assert "it is paused" in backfill_status(session).next_step
    with expanded.connect("other") as other, advisory_lock(other, BACKFILL):
        assert "being rolled back" in backfill_status(session).next_step


def test_without_a_plan_no_partitions_are_reported(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        now = backfill_status(connection)
    assert now.tables == (
        TableStatus("topics", 0, 0, 0, 0, 0, None, None),
        TableStatus("atoms", 0, 0, 0, 0, 0, None, None),
    )
    assert (now.run, now.next_step) == (None, "The backfill has no rows to link.")
