"""The backfill gives every row exactly one proposal with its values, and changes nothing else."""

from dataclasses import replace
from uuid import UUID, uuid3

import pytest

from knowledge_migration.engine.backfill import completion, control, dry_run, plan, rollback, run, runner
from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.errors import BlockedError, BusyError, PreconditionError
from knowledge_migration.engine.exclusive import exclusive
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    fill,
    legacy_values,
    partitions,
)


def test_every_row_gets_one_proposal_with_its_values_null_for_null(any_expanded: Database) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        before = legacy_values(connection)
        backfill(any_expanded)
        assert broken_rules(connection) == {}
        assert legacy_values(connection) == before
        pairs = connection.execute(
            "SELECT a.confidence AS row, p.confidence AS proposal, a.meta::text AS meta, p.meta::text AS copied, p.status, "
            "p.proposed_topic_ids AS topics, p.reviewed_at >= p.created_at AS in_order, a.id "
            "FROM atoms a JOIN atom_proposals p ON p.id = a.migrated_from_proposal_id ORDER BY a.id"
        ).fetchall()
        assert len(pairs) == 400
        assert all(pair["row"] == pair["proposal"] for pair in pairs)
        assert {pair["row"] for pair in pairs} == {None, 0.0, 0.73, 1.0}
        assert {pair["copied"] for pair in pairs} == {None, "null", '{"a": [2], "b": 1}'}
        assert all(pair["status"] == "approved" and pair["in_order"] for pair in pairs)
        related = connection.execute(
            "SELECT array_agg(topic_id ORDER BY topic_id) AS ids FROM topic_atoms WHERE atom_id = 7"
        )
        assert pairs[6]["topics"] == related.fetchone()["ids"]  # type: ignore[index]
        assert pairs[-1]["topics"] == []


def test_the_id_of_a_proposal_follows_from_its_row(expanded: Database, connection: Connection) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as session:
        row = session.execute("SELECT migrated_from_proposal_id AS id FROM atoms WHERE id = 123").fetchone()
    assert row == {"id": uuid3(UUID(bytes=b"knowledge/origin"), "atoms/123")}


def test_a_second_backfill_links_nothing_and_uses_the_same_run(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        before = connection.execute("SELECT id, completed_at FROM knowledge_extraction_runs").fetchall()
        assert backfill(expanded).linked_rows == 0
        assert connection.execute("SELECT id, completed_at FROM knowledge_extraction_runs").fetchall() == before


def test_the_run_is_completed_only_when_nothing_is_left(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        for part in partitions(connection)[:-1]:
            runner.backfill_partition(expanded, part, QUICK)
        assert run.run_status(connection) == "running"
        completion.complete(expanded, QUICK)
        assert run.run_status(connection) == "completed"


def test_dual_written_rows_are_not_touched(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count) "
            "VALUES (gen_random_uuid(), 'completed', '[1]', 1);"
            "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, status) "
            "SELECT id, 'topic 5', 'about 5', 0.9, 'auto_approved' FROM knowledge_extraction_runs;"
            "UPDATE topics SET migrated_from_proposal_id = (SELECT id FROM topic_proposals), migration_timestamp = now() "
            "WHERE id = 5"
        )
        before = connection.execute("SELECT * FROM topic_proposals").fetchall()
        backfill(expanded)
        assert count(connection, "SELECT count(*) FROM topic_proposals") == 60
        rollback.rollback_backfill(expanded, reason="a test")
        assert connection.execute("SELECT * FROM topic_proposals").fetchall() == before
        assert count(connection, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 1


def test_a_row_that_a_user_holds_is_skipped_and_taken_by_the_completion(expanded: Database) -> None:
    fill(expanded)
    impatient = replace(QUICK, lock_timeout_ms=50, retry_attempts=2)
    with expanded.connect("user") as user, expanded.connect("test") as connection:
        with user.transaction():
            user.execute("UPDATE topics SET description = 'EDITED', updated_at = now() WHERE id = 30")
            with pytest.raises(BlockedError, match="run it again"):
                backfill(expanded, impatient)
            assert count(connection, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 1
        backfill(expanded)
        assert broken_rules(connection) == {}
        row = connection.execute(
            "SELECT p.description FROM topic_proposals p JOIN topics t ON t.migrated_from_proposal_id = p.id WHERE t.id = 30"
        ).fetchone()
        assert row == {"description": "EDITED"}


def test_rows_written_above_the_plans_bound_are_taken_by_the_sweep(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        parts = partitions(connection)
        connection.execute("INSERT INTO topics (name, description) VALUES ('late', '')")
        for part in parts:
            runner.backfill_partition(expanded, part, QUICK)
        assert completion.complete(expanded, QUICK).linked_rows == 1
        assert broken_rules(connection) == {}


def test_a_link_that_was_lost_is_restored_with_fresh_values(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        connection.execute(
            "UPDATE topics SET migrated_from_proposal_id = NULL, migration_timestamp = NULL, name = 'renamed' WHERE id = 9"
        )
        backfill(expanded)
        assert broken_rules(connection) == {}
        assert count(connection, "SELECT count(*) FROM topic_proposals WHERE name = 'renamed'") == 1
        assert count(connection, "SELECT count(*) FROM topic_proposals") == 60


def test_two_backfills_of_one_partition_do_not_run_at_once(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("other") as other:
        part = partitions(other)[0]
        with exclusive(other, runner.work_of(part)), pytest.raises(BusyError, match="pid"):
            runner.backfill_partition(expanded, part, QUICK)


def test_no_rollback_runs_beside_a_backfill(expanded: Database) -> None:
    with expanded.connect("other") as other, exclusive(other, runner.WORK, shared=True), pytest.raises(BusyError):
        rollback.rollback_backfill(expanded, reason="a test")


def test_a_rollback_leaves_every_legacy_value_and_can_be_followed_by_a_new_backfill(any_expanded: Database) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        before = legacy_values(connection)
        backfill(any_expanded)
        connection.execute("DELETE FROM atoms WHERE id > 395")
        before["atoms"] = [row for row in before["atoms"] if row["id"] <= 395]
        rollback.rollback_backfill(any_expanded, reason="a test", batch_size=30)
        assert legacy_values(connection) == before
        for table in ("topic_proposals", "atom_proposals", "knowledge_extraction_runs", "migration.backfill_batch"):
            assert count(connection, f"SELECT count(*) FROM {table}") == 0  # noqa: S608
        assert count(connection, "SELECT count(*) FROM migration.audit_log WHERE action = 'rollback backfill'") == 1
        backfill(any_expanded)
        assert broken_rules(connection) == {}


def test_the_backfill_is_refused_before_phase_1(database: Database) -> None:
    part = plan.Partition("topic", "x", 0, 10)
    with pytest.raises(PreconditionError, match="Run phase 1"):
        runner.backfill_partition(database, part, QUICK)


def test_a_dry_run_forecasts_and_changes_nothing(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        plans = plan.make_plan(connection, width_ids=100, max_partitions=200)
        forecasts = dry_run.dry_run(expanded, plans, QUICK, sample_batches=4)
        assert [(forecast.table, forecast.rows_to_do) for forecast in forecasts] == [("topics", 60), ("atoms", 400)]
        assert all(forecast.sampled_rows > 0 and forecast.wal_bytes > 0 for forecast in forecasts)
        for table in ("topic_proposals", "atom_proposals", "knowledge_extraction_runs", "migration.backfill_batch"):
            assert count(connection, f"SELECT count(*) FROM {table}") == 0  # noqa: S608
        assert count(connection, "SELECT count(migrated_from_proposal_id) FROM atoms") == 0


def test_pause_size_and_rate_are_obeyed_while_it_runs(expanded: Database) -> None:
    fill(expanded)
    slept: list[float] = []
    now = [0.0]
    with expanded.connect("operator") as operator:
        control.set_control(operator, paused=True, batch_size=7, rate_limit_per_second=2)

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds
            if len(slept) == 3:
                control.set_control(operator, paused=False)

        limits = Limits(batch_size=50, rate_limit_per_second=0, clock=lambda: now[0], sleep=sleep)
        waits: list[str] = []
        part = plan.Partition("topic", "x", 0, 60)
        result = runner.backfill_partition(expanded, part, limits, on_wait=waits.append)
        assert waits == ["paused by the operator"] * 3
        assert slept[:3] == [1.0, 1.0, 1.0]
        assert set(slept[3:]) == {0.5}
        assert result.linked_rows == 60
        sizes = operator.execute("SELECT linked_rows FROM migration.backfill_batch ORDER BY id").fetchall()
        assert {row["linked_rows"] for row in sizes[1:-1]} == {7}


@pytest.mark.parametrize(
    ("first", "last", "width", "most", "expected"),
    [
        (1, 100, 100, 200, [(0, 100)]),
        (1, 101, 100, 200, [(0, 100), (100, 101)]),
        (150, 250, 100, 200, [(100, 200), (200, 250)]),
        (-5, 50, 100, 200, [(-6, 50)]),
        (1, 1000, 10, 5, [(0, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]),
    ],
)
def test_partitions_cover_the_ids_once_and_stay_few(
    expanded: Database, first: int, last: int, width: int, most: int, expected: list[tuple[int, int]]
) -> None:
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO topics (id, name, description) VALUES (%s, 'a', ''), (%s, 'b', '')", (first, last)
        )
        made = plan.make_plan(connection, width_ids=width, max_partitions=most)["topic"]
    assert [(part.after_id, part.through_id) for part in made.partitions] == expected
    assert plan.EntityPlan.from_evidence("topic", made.to_evidence()) == made
