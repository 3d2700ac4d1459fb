"""Every row that any session writes gets its proposal in the same transaction, and no statement of a user fails for it."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.foundation import fingerprint
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BusyError
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema import capture
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    at_the_same_time,
    backfill,
    broken_rules,
    count,
    fill,
    until,
)
from knowledge_migration_tests.engine.dual_write.capturing import (
    LIMITS,
    LINKED,
    UNFAITHFUL,
    application,
    atom,
    install,
    relate,
    topic,
)
from knowledge_migration_tests.support.fence_timeouts import PATIENT

FAILURES = "SELECT count(*) FROM migration.capture_log WHERE sqlstate IS NOT NULL"
RUNS = "SELECT count(*) FROM knowledge_extraction_runs WHERE settings ->> 'mode' = 'captured'"


@pytest.fixture
def open_relation(any_expanded: Database) -> Iterator[Connection]:
    """A session whose open transaction has written a relation."""
    with application(any_expanded) as connection:
        relate(connection, topic(connection, "before"), atom(connection, "before"))
        connection.execute("BEGIN")
        relate(connection, topic(connection, "open"), 1)
        yield connection


def test_every_way_of_writing_is_captured(writer: Connection) -> None:
    topic(writer, "inserted")
    atom(writer, "null confidence")
    atom(writer, "certain", '{"b": 1,  "a": [2]}', 0.0)
    with writer.cursor().copy("COPY atoms (type, title, content, user_approved) FROM STDIN") as copy:
        for number in range(50):
            copy.write_row(("insight", f"copied {number}", "content", False))
    upsert = "INSERT INTO topics (name, description) VALUES ('inserted', 'new'), ('upserted', 'new') "
    writer.execute(upsert + "ON CONFLICT (name) DO UPDATE SET updated_at = now()")
    writer.execute(
        "MERGE INTO topics USING (VALUES ('upserted'), ('merged')) AS given (name) ON topics.name = given.name "
        "WHEN MATCHED THEN UPDATE SET icon = NULL WHEN NOT MATCHED THEN INSERT (name, description) VALUES (given.name, '')"
    )
    writer.execute(
        "WITH new AS (INSERT INTO atoms (type, title, content, user_approved) VALUES ('a', 'with topic', '', false) "
        "RETURNING id) INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1, id FROM new"
    )
    assert (count(writer, LINKED.format("topics")), count(writer, LINKED.format("atoms"))) == (3, 53)
    assert count(writer, UNFAITHFUL) == 0
    assert count(writer, FAILURES) == 0


@pytest.mark.long
def test_a_hundred_thousand_rows_are_captured_in_one_statement(writer: Connection) -> None:
    atom(writer, "the plan of one row is cached")
    writer.execute(
        "INSERT INTO atoms (type, title, content, user_approved, meta) SELECT 'insight', 'atom ' || n, 'content', false, "
        "json_build_object('source', 'bulk', 'message_ids', json_build_array(n / 400)) FROM generate_series(1, 100000) AS n"
    )
    assert count(writer, LINKED.format("atoms")) == 100_001
    assert count(writer, RUNS) == 252
    assert count(writer, FAILURES) == 0


def test_the_capture_is_part_of_the_transaction(captured: Database, writer: Connection) -> None:
    with writer.transaction(force_rollback=True):
        topic(writer, "rolled back")
    assert count(writer, "SELECT count(*) FROM topic_proposals") == 0
    with writer.transaction():
        topic(writer, "committed")
        assert count(writer, UNFAITHFUL) == 0


def test_a_conflict_leaves_no_proposal(writer: Connection) -> None:
    topic(writer, "there")
    nothing = "INSERT INTO topics (name, description) VALUES ('there', 'again'), ('new', '') ON CONFLICT DO NOTHING"
    writer.execute(nothing)
    writer.execute(nothing)
    assert count(writer, "SELECT count(*) FROM topic_proposals") == 2
    assert count(writer, UNFAITHFUL) == 0


def test_relations_that_arrive_later_belong_to_the_proposal(writer: Connection) -> None:
    topics = [topic(writer, f"topic {number}") for number in range(4)]
    with writer.transaction():
        one = atom(writer, "one")
        relate(writer, topics[3], one)
    relate(writer, topics[0], one)
    writer.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (2, 1), (1, 1) ON CONFLICT DO NOTHING")
    assert count(writer, UNFAITHFUL) == 0
    other = atom(writer, "other")
    writer.execute(
        "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (%s, %s, 'solves')", (one, other)
    )
    row = writer.execute("SELECT proposed_links FROM atom_proposals WHERE title = 'one'").fetchone()
    linked = writer.execute("SELECT migrated_from_proposal_id AS id FROM atoms WHERE title = 'other'").fetchone()
    assert row and linked  # noqa: PT018
    assert row["proposed_links"] == [{"proposal": str(linked["id"]), "type": "solves"}]
    assert count(writer, FAILURES) == 0


def test_a_user_never_waits_for_another_one(captured: Database, writer: Connection) -> None:
    one, here, there = atom(writer, "shared"), topic(writer, "here"), topic(writer, "there")
    with application(captured) as other, writer.transaction():
        relate(writer, here, one)
        topic(writer, "first of a run nobody else has seen")
        other.execute("SET lock_timeout = '2s'")
        relate(other, there, one)
        topic(other, "second")
        assert count(other, FAILURES) == 1
    assert count(writer, "SELECT count(*) FROM atom_proposals WHERE proposed_topic_ids = '[1]'") == 1


def test_the_first_rows_of_a_day_do_not_wait_for_each_other(captured: Database, writer: Connection) -> None:
    with application(captured) as other:
        other.execute("SET lock_timeout = '2s'")
        with writer.transaction():
            topic(writer, "first")
            topic(other, "at the same time")
            topic(writer, "first again")
        topic(other, "later")
    assert count(writer, RUNS) == 2
    assert (
        count(writer, "SELECT count(DISTINCT extraction_run_id) FROM topic_proposals WHERE name <> 'at the same time'")
        == 1
    )
    assert count(writer, UNFAITHFUL) == 0


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_every_isolation_level_is_captured(captured: Database, writer: Connection, isolation: str) -> None:
    with application(captured) as other:
        other.execute("BEGIN ISOLATION LEVEL " + isolation)  # type: ignore[arg-type]
        other.execute("SELECT 1 FROM topics")
        topic(writer, "opens the run of the day")
        topic(other, "does not see it")
        other.execute("COMMIT")
    assert count(writer, UNFAITHFUL) == 0
    assert count(writer, FAILURES) == 0


def test_rows_of_one_extraction_share_a_run(writer: Connection) -> None:
    for title, meta in (
        ("a", '{"source": "llm", "message_ids": [1, 2]}'),
        ("b", '{"message_ids": [1,2], "source": "llm"}'),
    ):
        atom(writer, title, meta)
    atom(writer, "c", '{"source": "llm", "message_ids": [3]}')
    atom(writer, "d", '{"source": "llm"}')
    topic(writer, "e")
    runs = writer.execute(
        "SELECT message_ids, message_count, count(*) FROM knowledge_extraction_runs AS run "
        "JOIN (SELECT extraction_run_id FROM atom_proposals UNION ALL SELECT extraction_run_id FROM topic_proposals) AS one "
        "ON one.extraction_run_id = run.id GROUP BY run.id ORDER BY message_count, count(*)"
    ).fetchall()
    assert [tuple(run.values()) for run in runs] == [([], 0, 2), ([3], 1, 1), ([1, 2], 2, 2)]


def test_a_row_that_cannot_become_a_proposal_goes_to_quarantine_and_its_neighbours_do_not(writer: Connection) -> None:
    writer.execute(
        "INSERT INTO atoms (type, title, content, confidence, user_approved, meta) VALUES ('a', 'good', '', 1, true, NULL), "
        "('a', 'nan', '', 'NaN', true, NULL), ('a', 'high', '', 1.5, true, NULL), "
        "('a', 'nul', '', NULL, true, '{\"a\": \"\\u0000\"}')"
    )
    held = writer.execute("SELECT row_id, state, sqlstate FROM migration.quarantine ORDER BY row_id").fetchall()
    assert [tuple(row.values()) for row in held] == [(2, "open", "23514"), (3, "open", "23514"), (4, "open", "22P05")]
    assert count(writer, LINKED.format("atoms")) == 1
    assert count(writer, FAILURES) == 0


def test_an_unexpected_failure_reaches_no_user_and_is_recorded(writer: Connection) -> None:
    writer.execute("ALTER TABLE topic_proposals ADD CONSTRAINT surprise CHECK (name <> 'surprising')")
    topic(writer, "surprising")
    assert count(writer, LINKED.format("topics")) == 0
    assert count(writer, "SELECT count(*) FROM topic_proposals") == 0
    failure = writer.execute("SELECT sqlstate, operation FROM migration.capture_log").fetchone()
    assert failure == {"sqlstate": "23514", "operation": "INSERT on topics"}
    writer.execute("ALTER TABLE migration.capture_log RENAME TO elsewhere")
    topic(writer, "even without a place for the record")


def test_an_edit_leaves_the_proposal_and_a_deletion_marks_it(captured: Database, writer: Connection) -> None:
    one, related = atom(writer, "one"), topic(writer, "related")
    relate(writer, related, one)
    atom(writer, "gone")
    atom(writer, "untouched")
    writer.execute("UPDATE atoms SET content = 'edited' WHERE title = 'one'")
    writer.execute("DELETE FROM atoms WHERE title = 'gone'")
    proposals = writer.execute(
        "SELECT title, content, status, entity_id, review_notes FROM atom_proposals ORDER BY title"
    )
    gone, kept, _ = proposals.fetchall()
    assert (kept["content"], kept["entity_id"]) == ("content", None)
    assert (gone["status"], gone["entity_id"]) == ("approved", 2)
    assert gone["review_notes"].endswith("; the row was deleted")
    with captured.connect("test") as connection:
        assert broken_rules(connection).keys() == {"migration_run_is_completed"}
        connection.execute("UPDATE atom_proposals SET content = 'wrong' WHERE title = 'one'")
        assert "atom_proposal_values_equal_the_entity" not in broken_rules(connection)  # edited since


def test_a_wrong_proposal_is_found_although_a_relation_came_later(captured: Database, writer: Connection) -> None:
    relate(writer, topic(writer, "related"), atom(writer, "one"))
    writer.execute("UPDATE atom_proposals SET content = 'wrong'")
    with captured.connect("test") as connection:
        assert broken_rules(connection)["atom_proposal_values_equal_the_entity"] == 1


def test_an_id_that_is_used_again_gets_the_values_of_its_new_row(writer: Connection) -> None:
    topic(writer, "first")
    writer.execute("DELETE FROM topics")
    writer.execute("INSERT INTO topics (id, name, description) VALUES (1, 'second', '')")
    assert count(writer, UNFAITHFUL) == 0


def test_the_application_needs_no_rights(captured: Database, writer: Connection) -> None:
    with captured.connect("test") as connection:
        connection.execute("CREATE ROLE bare_application")
        try:
            connection.execute(
                "GRANT SELECT, INSERT, DELETE ON topics, atoms, topic_atoms, atom_links TO bare_application"
            )
            connection.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bare_application")
            writer.execute("SET ROLE bare_application")
            relate(writer, topic(writer, "by a role without rights"), atom(writer, "one"))
            writer.execute("CREATE TEMP TABLE atom_proposals (id integer)")
            writer.execute("SET search_path = pg_temp, public")
            atom(writer, "with a misleading path")
            writer.execute("RESET search_path")
            writer.execute("RESET ROLE")
            writer.execute("DROP TABLE pg_temp.atom_proposals")
            assert count(writer, UNFAITHFUL) == 0
        finally:
            connection.execute("DROP OWNED BY bare_application")
            connection.execute("DROP ROLE bare_application")


def test_our_own_sessions_are_not_captured(captured: Database) -> None:
    with captured.connect("test") as connection:
        topic(connection, "by the migration")
        assert count(connection, LINKED.format("topics")) == 0


def test_a_disabled_trigger_is_a_difference_and_installing_again_enables_it(
    captured: Database, writer: Connection
) -> None:
    assert proposal_differences(captured) == []
    writer.execute("ALTER TABLE topics DISABLE TRIGGER USER")
    writer.execute("DROP TRIGGER knowledge_migration_related ON topic_atoms")
    names = {difference.object for difference in proposal_differences(captured)}
    assert names == {
        "knowledge_migration_written of topics",
        "knowledge_migration_deleted of topics",
        "knowledge_migration_related of topic_atoms",
    }
    install(captured)
    assert proposal_differences(captured) == []


def test_relations_are_complete_although_the_capture_was_installed_in_parts(
    any_expanded: Database, open_relation: Connection
) -> None:
    with application(any_expanded) as writer, at_the_same_time(lambda: install(any_expanded)) as future:
        until(writer, "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'related_topic_atoms')")
        relate(writer, topic(writer, "while it is installed"), atom(writer, "while it is installed"))
        open_relation.execute("COMMIT")
        future.result()
        backfill(any_expanded)
        assert count(writer, UNFAITHFUL) == 0


def test_relations_that_no_trigger_saw_are_completed(captured: Database, writer: Connection) -> None:
    one = atom(writer, "one")
    with captured.connect("test") as connection:
        capture.remove(connection, LIMITS)
    relate(writer, topic(writer, "while it was removed"), one)
    install(captured)
    backfill(captured)
    assert count(writer, UNFAITHFUL) == 0
    assert count(writer, FAILURES + " AND swept_at IS NULL") == 0


def test_one_process_installs_it_at_a_time(expanded: Database) -> None:
    with (
        expanded.connect("test") as other,
        advisory_lock(other, capture.INSTALLATION),
        pytest.raises(BusyError, match="installation of the capture"),
    ):
        install(expanded)


def test_removing_it_leaves_nothing(captured: Database, writer: Connection) -> None:
    with captured.connect("test") as connection:
        assert capture.is_installed(connection)
        capture.remove(connection, LIMITS)
        assert not capture.is_installed(connection)
        assert count(connection, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'knowledge_migration%'") == 0
        assert count(connection, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'written_%'") == 0
        assert capture.remove(connection, LIMITS) == []
    topic(writer, "not captured")
    assert count(writer, LINKED.format("topics")) == 0


def test_the_service_writes_its_own_proposals_and_is_not_captured(peopled: Database, service: str) -> None:
    switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    install(peopled)
    for message_id in (1, 2):
        body = {"message_ids": [message_id], "user_id": 1}
        assert httpx.post(f"{service}/api/v1/knowledge/extract", json=body).json()["mode"] == "dual_write"
    assert httpx.post(f"{service}/api/v1/topics", json={"name": "by hand", "description": "x"}).status_code < 300
    with peopled.connect("test") as connection:
        assert count(connection, LINKED.format("topics")) > 1
        assert count(connection, RUNS) == 0
        assert count(connection, "SELECT count(*) FROM migration.capture_log") == 0
        assert broken_rules(connection).keys() <= {"migration_run_is_completed"}


def test_the_rollback_of_dual_write_removes_the_capture_and_its_proposals(
    captured: Database, writer: Connection
) -> None:
    fill(captured)
    with captured.connect("test") as connection:
        before = fingerprint.take(connection)
        relate(writer, topic(writer, "captured"), atom(writer, "captured"))
        atom(writer, "deleted since")
        writer.execute("DELETE FROM atoms WHERE title = 'deleted since'")
        rolled_back = rollback_dual_write(captured, Flags(), PATIENT, reason="a test", limits=QUICK)
        assert rolled_back.deleted_proposals == {"topic_proposals": 1, "atom_proposals": 2}
        assert not capture.is_installed(connection)
        assert count(connection, RUNS) == 0
        assert count(connection, LINKED.format("topics")) == 0
        writer.execute("DELETE FROM topic_atoms WHERE topic_id > 60")
        writer.execute("DELETE FROM topics WHERE name = 'captured'")
        writer.execute("DELETE FROM atoms WHERE title = 'captured'")
        assert fingerprint.differences(before, fingerprint.take(connection, like=before)) == []


def test_the_rollback_of_the_schema_removes_the_capture(captured: Database, writer: Connection) -> None:
    topic(writer, "captured")
    rollback_schema(captured, LIMITS, reason="a test")
    topic(writer, "after it")
    assert count(writer, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'knowledge_migration%'") == 0


def test_a_backfill_leaves_captured_proposals_and_takes_the_other_rows(any_expanded: Database) -> None:
    fill(any_expanded)
    with application(any_expanded) as writer:
        writer.execute("BEGIN")
        topic(writer, "open while the capture is installed")
        with at_the_same_time(lambda: install(any_expanded)) as future:
            with any_expanded.connect("test") as watcher:
                until(
                    watcher, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'topics'::regclass)"
                )
            assert not future.done()
            writer.execute("COMMIT")
            future.result()
        topic(writer, "captured")
        writer.execute("SET session_replication_role = replica")
        topic(writer, "not captured")
        atom(writer, "not captured")
        with any_expanded.connect("test") as connection:
            assert count(connection, LINKED.format("topics")) == 1
            backfill(any_expanded)
            assert broken_rules(connection) == {}
            rollback_backfill(any_expanded, reason="a test", limits=QUICK)
            assert count(connection, LINKED.format("topics")) == 1


def test_a_killed_writer_leaves_nothing_half_done(captured: Database, writer: Connection) -> None:
    bulk = (
        "INSERT INTO atoms (type, title, content, user_approved) SELECT 'a', 'atom ' || n, '', false "
        "FROM generate_series(1, 50000) AS n"
    )
    with captured.connect("test") as connection, application(captured) as victim:

        def write() -> None:
            with pytest.raises(psycopg.OperationalError):
                victim.execute(bulk)

        with at_the_same_time(write) as future:
            until(connection, "SELECT count(*) FROM pg_locks WHERE relation = 'atom_proposals'::regclass")
            connection.execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
            future.result()
        assert count(connection, "SELECT count(*) FROM atoms") == 0
    assert count(writer, UNFAITHFUL) == 0
