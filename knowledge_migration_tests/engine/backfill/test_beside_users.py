"""Users go on beside the backfill: no edit of theirs is lost or copied stale, and it never makes them wait for each other."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.backfill.batch import BatchContext, run_batch
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.backfill.runner import PartitionResult, backfill_partition
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.engine.backfill.backfilling import (
    at_the_same_time,
    backfill,
    blocked_by,
    broken_rules,
    count,
    fill,
)

TOPICS = Partition("topic", "000000000001", 0, 100)
ATOMS = Partition("atom", "000000000001", 0, 500)
PATIENT = BackfillSettings(batch_size=50, rate_limit_per_second=0, lock_timeout_ms=10_000, retry_attempts=1)
BACKFILL = "knowledge_migration backfill"


@pytest.fixture
def filled(expanded: Database) -> Database:
    """A database after phase 1 with topics and atoms."""
    fill(expanded)
    return expanded


@pytest.fixture
def user(filled: Database) -> Iterator[Connection]:
    """A session of a user."""
    with filled.connect("user") as connection:
        yield connection


@pytest.fixture
def watch(filled: Database) -> Iterator[Connection]:
    """A session that only looks."""
    with filled.connect("watch") as connection:
        yield connection


def proposal_of(connection: Connection, table: str, row_id: int) -> dict[str, object] | None:
    """The origin proposal of a row, with the row's own name as `now`."""
    label, one = ("name", "topic") if table == "topics" else ("title", "atom")
    return connection.execute(
        f"SELECT proposal.*, source.{label} AS now, source.updated_at FROM {table} AS source "  # noqa: S608
        f"JOIN {one}_proposals AS proposal ON proposal.id = source.migrated_from_proposal_id WHERE source.id = %s",
        (row_id,),
    ).fetchone()


def topics(database: Database) -> PartitionResult:
    """The backfill of all topics, waiting for users as long as it takes."""
    return backfill_partition(database, TOPICS, PATIENT)


def test_an_edit_that_waits_for_the_backfills_lock_is_not_lost(
    filled: Database, user: Connection, watch: Connection
) -> None:
    def edit() -> None:
        user.execute("UPDATE topics SET name = 'edited', updated_at = clock_timestamp() WHERE id = 7")

    with filled.connect("batch") as batch:
        run = open_run(batch)
        batch.execute("BEGIN")
        assert run_batch(batch, BatchContext(TOPICS, run), 0, 50)[0] == 50
        with at_the_same_time(edit) as edited:
            blocked_by(watch, batch, "user")
            batch.execute("COMMIT")
            edited.result()
    backfill(filled)
    found = proposal_of(watch, "topics", 7)
    assert found
    assert (found["now"], found["name"]) == ("edited", "topic 7")
    assert broken_rules(watch) == {}


@pytest.mark.parametrize("stamp", ["", ", updated_at = now()"], ids=["without updated_at", "with updated_at"])
def test_an_edit_that_commits_while_the_backfill_waits_is_copied(
    filled: Database, user: Connection, watch: Connection, stamp: str
) -> None:
    with user.transaction():
        user.execute(f"UPDATE topics SET name = 'edited', description = 'in time'{stamp} WHERE id = 30")  # noqa: S608
        before = user.execute("SELECT updated_at FROM topics WHERE id = 30").fetchone()
        with at_the_same_time(lambda: topics(filled)) as done:
            blocked_by(watch, user, BACKFILL)
            user.execute("COMMIT; BEGIN")
            result = done.result()
    assert (result.linked_rows, result.remaining) == (60, 0)
    found = proposal_of(watch, "topics", 30)
    assert found
    assert before
    assert (found["now"], found["name"], found["description"]) == ("edited", "edited", "in time")
    assert found["updated_at"] == before["updated_at"]
    backfill(filled)
    assert broken_rules(watch) == {}


def test_a_row_that_its_user_deletes_while_the_backfill_waits_leaves_nothing_behind(
    filled: Database, user: Connection, watch: Connection
) -> None:
    user.execute("DELETE FROM topic_atoms WHERE topic_id = 30")
    with user.transaction():
        user.execute("DELETE FROM topics WHERE id = 30")
        with at_the_same_time(lambda: topics(filled)) as done:
            blocked_by(watch, user, BACKFILL)
            user.execute("COMMIT; BEGIN")
            assert done.result().linked_rows == 59
    assert count(watch, "SELECT count(*) FROM topic_proposals") == 59


def test_a_row_that_is_dual_written_while_the_backfill_waits_keeps_that_proposal(
    filled: Database, user: Connection, watch: Connection
) -> None:
    with user.transaction():
        user.execute(
            "WITH run AS (INSERT INTO knowledge_extraction_runs (message_ids, message_count) VALUES ('[1]', 1) RETURNING id),"
            "made AS (INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, status, review_action) "
            "SELECT id, 'topic 30', 'about 30', 0.9, 'auto_approved', 'dual_write' FROM run RETURNING id) "
            "SELECT id FROM made"
        )
        user.execute(
            "UPDATE topics SET migrated_from_proposal_id = (SELECT id FROM topic_proposals WHERE review_action = 'dual_write'),"
            " migration_timestamp = now() WHERE id = 30"
        )
        with at_the_same_time(lambda: topics(filled)) as done:
            blocked_by(watch, user, BACKFILL)
            user.execute("COMMIT; BEGIN")
            assert done.result().linked_rows == 59
    found = proposal_of(watch, "topics", 30)
    assert found
    assert found["review_action"] == "dual_write"
    assert count(watch, "SELECT count(*) FROM topic_proposals") == 60


def test_while_it_waits_for_one_user_it_holds_no_row_of_another(
    filled: Database, user: Connection, watch: Connection
) -> None:
    """Otherwise a user who holds one row and wants the other would be chosen as the victim of a deadlock."""
    with filled.connect("other user") as other, user.transaction(), other.transaction():
        user.execute("UPDATE topics SET icon = icon WHERE id = 30")
        other.execute("UPDATE topics SET icon = icon WHERE id = 20")
        with at_the_same_time(lambda: topics(filled)) as done:
            blocked_by(watch, other, BACKFILL)
            other.execute("COMMIT; BEGIN")
            blocked_by(watch, user, BACKFILL)
            user.execute("SET LOCAL lock_timeout = '2s'; UPDATE topics SET icon = 'FolderIcon'; COMMIT; BEGIN")
            assert done.result().remaining == 0


def test_it_is_not_held_up_by_users_who_relate_a_row_nor_they_by_it(
    filled: Database, user: Connection, watch: Connection
) -> None:
    with user.transaction():
        user.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (59, 400)")
        result = backfill_partition(
            filled, TOPICS, BackfillSettings(rate_limit_per_second=0, lock_timeout_ms=1, retry_attempts=1)
        )
        assert (result.linked_rows, result.retries) == (60, 0)
    with filled.connect("batch") as batch, batch.transaction():
        run_batch(batch, BatchContext(ATOMS, open_run(batch)), 0, 400)
        user.execute("SET lock_timeout = '2s'")
        user.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (60, 399)")


def test_rows_that_users_insert_into_the_range_meanwhile_are_taken_too(filled: Database, watch: Connection) -> None:
    watch.execute("DELETE FROM topic_atoms WHERE topic_id = 3; DELETE FROM topics WHERE id = 3")

    def insert_once(_: object) -> None:
        watch.execute("INSERT INTO topics (id, name, description) VALUES (3, 'again', '') ON CONFLICT DO NOTHING")

    backfill_partition(filled, TOPICS, PATIENT, on_progress=insert_once)
    assert count(watch, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0


def test_a_partition_and_the_sweep_share_the_rows_between_them(filled: Database, watch: Connection) -> None:
    """A batch of the one is open while the other runs over the same rows."""
    with filled.connect("batch") as batch:
        run = open_run(batch)
        with batch.transaction():
            assert run_batch(batch, BatchContext(Partition("topic", "sweep", 0, 100), run), 0, 20)[0] == 20
            with at_the_same_time(lambda: topics(filled)) as done:
                blocked_by(watch, batch, BACKFILL)
                assert count(watch, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 40
                batch.execute("COMMIT; BEGIN")
                assert done.result().linked_rows == 40
    assert count(watch, "SELECT count(*) FROM topic_proposals") == 60
