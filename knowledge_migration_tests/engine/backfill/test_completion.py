"""The run is completed when a count says that nothing is left, and only then."""

import pytest

from knowledge_migration.engine.backfill import completion, plan, run, runner
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, MigrationError, PreconditionError
from knowledge_migration.engine.rollback import backfill as backfill_rollback
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, broken_rules, count


def direct_write(connection: Connection, name: str) -> None:
    """A topic as a writer without dual write makes it."""
    connection.execute("INSERT INTO topics (name, description) VALUES (%s, '')", (name,))


def test_the_completion_alone_does_the_whole_backfill(expanded: Database, session: Connection) -> None:
    done = completion.complete(expanded, QUICK)
    assert (done.linked_rows, done.passes) == (460, 1)
    assert broken_rules(session) == {}


def test_one_pass_is_enough_when_it_leaves_nothing(expanded: Database, session: Connection) -> None:
    assert completion.complete(expanded, QUICK, max_passes=1).passes == 1
    assert run.run_status(session) == "completed"


def test_it_gives_up_on_a_writer_without_dual_write_and_says_where(expanded: Database, session: Connection) -> None:
    numbers = iter(range(1_000))
    with pytest.raises(MigrationError, match=r"After 3 passes .*topics from id \d+.*without dual write"):
        completion.complete(
            expanded, QUICK, max_passes=3, on_progress=lambda _: direct_write(session, f"late {next(numbers)}")
        )
    assert run.run_status(session) == "running"
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}


def test_a_row_that_a_user_never_lets_go_of_keeps_the_run_open(expanded: Database, session: Connection) -> None:
    with expanded.connect("user") as user, user.transaction():
        user.execute("UPDATE atoms SET title = title WHERE id = 17")
        with pytest.raises(BlockedError, match="A user's transaction holds rows of it: end that transaction or wait"):
            completion.complete(expanded, QUICK)
        assert run.run_status(session) == "running"
        assert count(session, "SELECT min(id) FROM atoms WHERE migrated_from_proposal_id IS NULL") == 17
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}


def test_a_partition_that_finds_rows_after_the_completion_opens_the_run_again(
    expanded: Database, session: Connection
) -> None:
    backfill(expanded)
    direct_write(session, "late")
    runner.backfill_partition(expanded, plan.Partition("topic", "x", 60, 70), QUICK)
    assert run.run_status(session) == "running"
    assert broken_rules(session) == {"migration_run_is_completed": 1}
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}


def test_a_partition_that_finds_nothing_leaves_the_run_completed(expanded: Database, session: Connection) -> None:
    backfill(expanded)
    runner.backfill_partition(expanded, plan.Partition("topic", "x", 0, 70), QUICK)
    assert run.run_status(session) == "completed"


def test_no_rollback_begins_while_it_runs(expanded: Database, session: Connection) -> None:
    refused: list[str] = []

    def roll_back(_: object) -> None:
        with pytest.raises(BusyError) as error:
            backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)
        refused.append(str(error.value))

    completion.complete(expanded, QUICK, on_progress=roll_back)
    assert refused
    assert broken_rules(session) == {}


def test_two_completions_do_not_sweep_one_table_at_once(expanded: Database, session: Connection) -> None:
    with advisory_lock(session, "backfill of topic sweep"), pytest.raises(BusyError, match="pid"):
        completion.complete(expanded, QUICK)


def test_it_is_refused_before_phase_1(database: Database) -> None:
    with pytest.raises(PreconditionError, match="Run phase 1"):
        completion.complete(database, QUICK)


def test_fresh_statistics_are_there_when_it_is_done(expanded: Database, session: Connection) -> None:
    completion.complete(expanded, QUICK)
    pages = "SELECT count(*) FROM pg_class WHERE relname IN ('topics', 'atoms', 'topic_proposals', 'atom_proposals')"
    assert count(session, pages + " AND reltuples > 0") == 4
    assert count(session, "SELECT reltuples::int FROM pg_class WHERE relname = 'atom_proposals'") == 400
