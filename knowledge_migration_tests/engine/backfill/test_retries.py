"""Locks and timeouts make batches smaller and are tried again, bounded; then the error names the cause and the next step."""

import psycopg
import pytest

from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.quarantine import quarantined
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError, PreconditionError
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, broken_rules, count

TOPICS = Partition("topic", "000000000001", 0, 100)


def on_link(connection: Connection, body: str, condition: str = "true") -> None:
    """A trigger of the user's that runs when a topic is updated."""
    connection.execute(
        f"CREATE FUNCTION of_the_user() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;"
        f"CREATE TRIGGER of_the_user BEFORE UPDATE ON topics FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION of_the_user()"
    )


def test_a_batch_that_times_out_is_halved_until_it_fits(expanded: Database, session: Connection) -> None:
    on_link(session, "PERFORM pg_sleep(0.02)")
    slept: list[float] = []
    limits = BackfillSettings(batch_size=60, rate_limit_per_second=0, statement_timeout_ms=400, sleep=slept.append)
    result = backfill_partition(expanded, TOPICS, limits)
    assert (result.linked_rows, result.remaining) == (60, 0)
    assert result.retries >= 2
    assert slept[:2] == [0.1, 0.2]
    assert count(session, "SELECT max(linked_rows) FROM migration.backfill_batch") < 20


def test_a_row_that_always_times_out_ends_it_with_the_cause(expanded: Database, session: Connection) -> None:
    on_link(session, "PERFORM pg_sleep(60)", "NEW.id = 40")
    limits = BackfillSettings(
        batch_size=8, rate_limit_per_second=0, statement_timeout_ms=500, retry_attempts=4, sleep=lambda _: None
    )
    with pytest.raises(BlockedError, match=r"stopped 4 times, last by 57014 .*exceeded 500 ms") as error:
        backfill_partition(expanded, TOPICS, limits)
    assert "Committed batches stay" in str(error.value)
    assert count(session, "SELECT max(id) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 39


def test_a_lock_that_is_never_given_ends_it_after_the_attempts_with_growing_pauses(
    expanded: Database, session: Connection
) -> None:
    slept: list[float] = []
    impatient = QUICK.replaced(lock_timeout_ms=20, retry_attempts=8, sleep=slept.append)
    with expanded.connect("user") as user, user.transaction():
        user.execute("SELECT FROM topics WHERE id = 5 FOR UPDATE")
        with pytest.raises(BlockedError, match="stopped 8 times, last by 55P03"):
            backfill_partition(expanded, TOPICS, impatient)
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert count(session, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 59
    assert backfill_partition(expanded, TOPICS, impatient).linked_rows == 1


def test_waiting_for_locks_is_not_counted_as_the_time_of_a_batch(expanded: Database, session: Connection) -> None:
    now = [0.0]

    def let_go(seconds: float) -> None:
        now[0] += seconds
        if user.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            user.execute("ROLLBACK")

    with expanded.connect("user") as user:
        user.execute("BEGIN; SELECT FROM topics WHERE id = 5 FOR UPDATE")
        limits = QUICK.replaced(lock_timeout_ms=20, clock=lambda: now[0], sleep=let_go)
        result = backfill_partition(expanded, TOPICS, limits)
    assert (result.linked_rows, result.retries, result.slowest_batch_seconds) == (60, 1, 0.0)


def test_a_run_that_somebody_deletes_meanwhile_is_no_fault_of_the_rows(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE topics SET description = description")

    def delete_run(_: str) -> None:
        session.execute("DELETE FROM knowledge_extraction_runs; UPDATE migration.backfill_control SET paused = false")

    session.execute("UPDATE migration.backfill_control SET paused = true")
    with pytest.raises(MigrationError, match="run was deleted meanwhile, run the backfill again"):
        backfill_partition(expanded, TOPICS, QUICK, on_pace=delete_run)
    assert quarantined(session) == []
    backfill(expanded)
    assert broken_rules(session) == {}


def test_what_the_server_refuses_is_not_called_a_lost_connection(expanded: Database, session: Connection) -> None:
    on_link(session, "RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left'")
    with pytest.raises(
        MigrationError, match=r"^The server stopped the backfill of topic .*No space left.*stay; run the"
    ):
        backfill_partition(expanded, TOPICS, QUICK)
    assert quarantined(session) == []


def test_columns_of_the_users_own_may_have_any_name(expanded: Database, session: Connection) -> None:
    for name in ("proposal_id", "quarantine_policy", "row_version", "judged", "confidence"):
        session.execute(f"ALTER TABLE topics ADD COLUMN {name} text DEFAULT 'mine'")
        session.execute(f"ALTER TABLE atoms ADD COLUMN IF NOT EXISTS {name} text DEFAULT 'mine'")
    backfill(expanded)
    assert broken_rules(session) == {}
    assert count(session, "SELECT count(*) FROM topics WHERE proposal_id = 'mine' AND confidence = 'mine'") == 60


def test_it_is_refused_before_phase_1(database: Database) -> None:
    with pytest.raises(PreconditionError, match="Run phase 1"):
        backfill_partition(database, TOPICS, QUICK)


def test_limits_of_the_role_do_not_end_it(expanded: Database, session: Connection) -> None:
    session.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END $$;"
        "CREATE TRIGGER slow AFTER UPDATE ON topics EXECUTE FUNCTION slow()"
    )
    session.execute(f"ALTER DATABASE {expanded.name} SET statement_timeout = '500ms'")
    session.execute(f"ALTER DATABASE {expanded.name} SET lock_timeout = '1ms'")
    backfill_partition(expanded, TOPICS, QUICK)
    assert count(session, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0
