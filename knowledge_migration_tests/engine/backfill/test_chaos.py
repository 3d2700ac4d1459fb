"""Whatever ends a backfill, and whoever runs beside it, running it again completes it: one proposal a row, no user change
lost. Real processes, killed with SIGKILL; a real server, crashed in the middle."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_migration.engine.backfill.control import set_control
from knowledge_migration.engine.backfill.quarantine import quarantined
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BusyError, MigrationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import clone
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    blocked_by,
    broken_rules,
    count,
    fill,
    gone,
    legacy_values,
)
from knowledge_migration_tests.engine.backfill.process import WHOLE, process
from knowledge_migration_tests.engine.backfill.users import Users
from knowledge_migration_tests.support.server_restart import restart

LINKED = "SELECT (SELECT count(migrated_from_proposal_id) FROM topics) + (SELECT count(migrated_from_proposal_id) FROM atoms)"
PROPOSALS = "SELECT (SELECT count(*) FROM topic_proposals) + (SELECT count(*) FROM atom_proposals)"
ONE_EACH = """
SELECT count(*) = count(DISTINCT atoms.migrated_from_proposal_id) AND bool_and(proposal.id IS NOT NULL)
FROM atoms LEFT JOIN atom_proposals AS proposal ON proposal.id = atoms.migrated_from_proposal_id
"""


def whole(database: Database, connection: Connection) -> None:
    """A backfill from the beginning ends well, with exactly one proposal a row and every rule upheld."""
    gone(connection)
    backfill(database)
    assert broken_rules(connection) == {}
    assert count(connection, ONE_EACH)


@pytest.mark.parametrize("batches", [1, 7, 8, 30, 51])
def test_killed_between_batches_it_is_completed_by_the_next_one(
    expanded: Database, session: Connection, batches: int
) -> None:
    before = legacy_values(session)
    with process(expanded) as child:
        child.batches(batches)
        child.kill()
    assert 0 < count(session, LINKED) == count(session, PROPOSALS)
    whole(expanded, session)
    assert count(session, PROPOSALS) == 460
    assert legacy_values(session) == before


def test_killed_inside_a_statement_it_leaves_a_whole_row_or_none(expanded: Database, session: Connection) -> None:
    with expanded.connect("user") as user:
        user.execute("BEGIN; UPDATE topics SET name = 'edited' WHERE id = 30")
        with process(expanded, "topics", 20) as child:
            child.batches(3)
            child.go_on()
            child.line()
            child.go_on()
            blocked_by(session, user, "knowledge_migration backfill")
            child.kill()
        user.execute("COMMIT")
    gone(session)
    assert count(session, LINKED) == count(session, PROPOSALS)
    whole(expanded, session)
    assert count(session, "SELECT count(*) FROM topic_proposals WHERE name = 'edited'") == 1


def test_killed_while_it_sets_rows_aside_it_keeps_those_it_has_found(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id IN (3, 4, 300)")
    with process(expanded, "atoms", 8) as child:
        while not quarantined(session):
            child.batches(1)
            child.go_on()
        child.kill()
    gone(session)
    backfill(expanded)
    assert [row["row_id"] for row in quarantined(session, "open")] == [3, 4, 300]
    assert broken_rules(session) == {"every_atom_has_a_proposal": 3, "quarantine_is_decided": 3}


def test_killed_while_paused_it_leaves_the_pause_to_the_operator(expanded: Database, session: Connection) -> None:
    set_control(session, paused=True)
    with process(expanded, "topics") as child:
        assert child.line() == "paused by the operator"
        child.kill()
    gone(session)
    assert count(session, LINKED) == 0
    set_control(session, paused=False)
    whole(expanded, session)


def test_killed_again_and_again_it_still_comes_to_its_end(expanded: Database, session: Connection) -> None:
    with Users(expanded) as users:
        for _ in range(3):
            with process(expanded, batch_size=25) as child:
                child.batches(3)
                child.kill()
            gone(session)
        with process(expanded) as child:
            code, error = child.finish()
    assert code == 0 or "a writer works without dual write" in error
    whole(expanded, session)
    users.check(session)


def test_a_second_backfill_of_one_partition_is_refused_with_the_first_ones_pid(
    expanded: Database, session: Connection
) -> None:
    with process(expanded, "atoms") as child:
        child.batches(2)
        with pytest.raises(BusyError, match=r"backfill of atom .*pid \d+"):
            backfill_partition(expanded, WHOLE["atoms"], QUICK)
        assert child.finish()[0] == 0
    whole(expanded, session)
    assert count(session, PROPOSALS) == 460


def test_a_partition_and_the_completion_at_once_give_one_proposal_a_row(
    expanded: Database, session: Connection
) -> None:
    """They take turns over the same rows, and then run as they like."""
    backfill_partition(expanded, WHOLE["topics"], QUICK)
    with process(expanded, "atoms", 3) as one, process(expanded, "complete", 3) as other:
        for _ in range(5):
            one.batches(1)
            other.batches(1)
            one.go_on()
            other.go_on()
        one.release()
        other.release()
        assert (one.finish()[0], other.finish()[0]) == (0, 0)
    assert count(session, "SELECT sum(linked_rows) FROM migration.backfill_batch WHERE entity = 'atom'") == 400
    assert (
        count(session, "SELECT count(DISTINCT partition_key) FROM migration.backfill_batch WHERE entity = 'atom'") == 2
    )
    assert count(session, PROPOSALS) == 460
    whole(expanded, session)


def test_users_lose_nothing_and_see_no_error_while_two_run_and_one_is_killed(
    expanded: Database, session: Connection
) -> None:
    with Users(expanded) as users, process(expanded, "topics", 1) as one:
        one.release()
        with process(expanded, "atoms") as other:
            other.batches(15)
            other.kill()
        assert one.finish()[0] == 0
        gone(session)
        with process(expanded, "atoms") as again:
            assert again.finish()[0] == 0
    whole(expanded, session)
    users.check(session)


def test_a_session_that_an_operator_ends_says_what_stays_and_what_to_do(
    expanded: Database, session: Connection
) -> None:
    def end(_: object) -> None:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%backfill topic'"
        )

    with pytest.raises(MigrationError, match=r"was lost during.*Committed batches stay; run the backfill again"):
        backfill_partition(expanded, WHOLE["topics"], QUICK, on_progress=end)
    whole(expanded, session)


@pytest.fixture(scope="module")
def crashing() -> Iterator[EmbeddedServer]:
    """A server that tests may crash; what is not waited for reaches its disk ten seconds later."""
    with tempfile.TemporaryDirectory(prefix="kmcrash_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        template = server.ensure_database("crash_template")
        with template.connect("test") as connection:
            connection.execute(text_of("legacy/schema"))
            connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            connection.execute("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
            connection.execute("SELECT pg_reload_conf()")
        schema.upgrade(template, SchemaChangeSettings())
        fill(template)
        yield server


def crash(server: EmbeddedServer) -> None:
    """Ends every process of the server at once and starts it again on what was on disk."""
    restart(server, mode="immediate")


def test_after_a_partition_has_ended_a_crash_takes_none_of_it(crashing: EmbeddedServer) -> None:
    database = clone(crashing, "crash_template")
    result = backfill_partition(database, WHOLE["atoms"], QUICK)
    crash(crashing)
    with database.connect("test") as connection:
        assert count(connection, LINKED) == count(connection, PROPOSALS) == result.linked_rows == 400


def test_what_a_crash_takes_in_the_middle_the_next_one_does_again(crashing: EmbeddedServer) -> None:
    database = clone(crashing, "crash_template")
    with process(database) as child:
        child.batches(12)
        crash(crashing)
        child.go_on()
        code, error = child.finish()
    assert code != 0
    assert "Committed batches stay; run the backfill again" in error
    with database.connect("test") as connection:
        assert count(connection, LINKED) == count(connection, PROPOSALS) < 120
        whole(database, connection)
        assert count(connection, PROPOSALS) == 460


def test_a_crash_takes_nothing_that_was_acknowledged_to_a_user(crashing: EmbeddedServer) -> None:
    database = clone(crashing, "crash_template")
    with Users(database) as users:
        with process(database) as child:
            child.batches(20)
            crash(crashing)
            child.kill()
        turn = users.turn
        users.wait_for_turn(turn + 50)
    with database.connect("test") as connection:
        whole(database, connection)
        users.check(connection)
