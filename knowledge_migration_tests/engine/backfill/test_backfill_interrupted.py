"""Whatever ends a backfill, running it again completes it: one proposal a row, no user change lost. Real processes."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from knowledge_migration.engine import embedded_server
from knowledge_migration.engine.backfill import rollback
from knowledge_migration.engine.database import Database
from knowledge_migration.engine.embedded_server import EmbeddedServer
from knowledge_migration.engine.errors import MigrationError
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.ddl import LockLimits
from knowledge_migration.engine.statements import text_of
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, count, fill, legacy_values

CHILD = [sys.executable, "-m", "knowledge_migration_tests.engine.backfill.backfilling"]


def started(database: Database) -> "subprocess.Popen[str]":
    """The backfill as a process of its own."""
    return subprocess.Popen([*CHILD, database.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def after_batches(child: "subprocess.Popen[str]", number: int) -> None:
    """Returns when the process has reported that many batches."""
    assert child.stdout
    for _ in range(number):
        assert child.stdout.readline()


@pytest.mark.parametrize("batches", [1, 4, 11, 25])
def test_a_killed_backfill_is_completed_by_the_next_one(expanded: Database, batches: int) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        before = legacy_values(connection)
        child = started(expanded)
        after_batches(child, batches)
        child.kill()
        child.communicate()
        assert count(connection, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") > 0
        wait_for_sessions(connection)
        backfill(expanded)
        assert broken_rules(connection) == {}
        assert count(connection, "SELECT count(*) FROM atom_proposals") == 400
        assert legacy_values(connection) == before


def wait_for_sessions(connection: psycopg.Connection[dict[str, object]]) -> None:
    """Returns when the server has noticed that the killed process is gone."""
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name LIKE 'knowledge_migration backfill%%'"
    pause = threading.Event()
    for _ in range(200):
        row = connection.execute(query).fetchone()
        if row and row["n"] == 0:
            return
        pause.wait(0.05)
    raise AssertionError("the killed backfill's session is still there")


def test_a_killed_rollback_is_completed_by_the_next_one(expanded: Database) -> None:
    fill(expanded)
    code = (
        "import sys; from knowledge_migration.engine.backfill.rollback import rollback_backfill;"
        "from knowledge_migration.engine.database import Database;"
        "rollback_backfill(Database(sys.argv[1]), reason='a test', batch_size=5,"
        " on_rows=lambda *_: (print('.', flush=True), __import__('time').sleep(0.02)))"
    )
    with expanded.connect("test") as connection:
        before = legacy_values(connection)
        backfill(expanded)
        child = subprocess.Popen([sys.executable, "-c", code, expanded.url], stdout=subprocess.PIPE, text=True)
        after_batches(child, 8)
        child.kill()
        child.communicate()
        wait_for_sessions(connection)
        left = count(connection, "SELECT count(*) FROM topic_proposals")
        assert 0 < left < 60
        rollback.rollback_backfill(expanded, reason="a test")
        assert (
            count(connection, "SELECT (SELECT count(*) FROM topic_proposals) + (SELECT count(*) FROM atom_proposals)")
            == 0
        )
        assert legacy_values(connection) == before


def test_two_backfills_at_once_give_one_proposal_a_row(expanded: Database) -> None:
    fill(expanded)
    children = [started(expanded), started(expanded)]
    outputs = [child.communicate() for child in children]
    codes = sorted(child.returncode for child in children)
    assert codes in ([0, 0], [0, 1])
    if codes == [0, 1]:
        assert any("Another process is doing this now" in error for _, error in outputs)
    with expanded.connect("test") as connection:
        backfill(expanded)
        assert broken_rules(connection) == {}
        assert count(connection, "SELECT count(*) FROM atom_proposals") == 400


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that the test may crash."""
    with tempfile.TemporaryDirectory(prefix="kmcrash_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield embedded_server.start(Path(folder) / "data", cleanup="delete")


def test_a_crash_of_the_server_loses_nothing_and_the_next_backfill_completes(own_server: EmbeddedServer) -> None:
    database = own_server.ensure_database("crashing")
    with database.connect("test") as connection:
        connection.execute(text_of("legacy/schema"))
    schema.upgrade(database, LockLimits())
    fill(database)
    with database.connect("test") as connection:
        before = legacy_values(connection)
    child = started(database)
    after_batches(child, 12)
    embedded_server.restart(own_server, mode="immediate")
    _, error = child.communicate()
    assert child.returncode != 0
    assert "was lost during the backfill" in error or "Cannot connect" in error
    with database.connect("test") as connection:
        backfill(database)
        assert broken_rules(connection) == {}
        assert legacy_values(connection) == before


class Users(threading.Thread):
    """Inserts, edits and deletes as users do, all the while, and remembers what was acknowledged."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.over = threading.Event()
        self.titles: dict[int, str] = {}
        self.deleted: set[int] = set()
        self.failures: list[str] = []

    def run(self) -> None:
        try:
            with self.database.connect("users") as connection:
                turn = 0
                while not self.over.is_set():
                    turn += 1
                    self.act(connection, turn)
        except Exception as error:
            self.failures.append(repr(error))

    def act(self, connection: psycopg.Connection[dict[str, object]], turn: int) -> None:
        target = 1 + turn * 7 % 400
        if turn % 5 == 0:
            row = connection.execute(
                "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', %s, 'new', false) RETURNING id",
                (f"new {turn}",),
            ).fetchone()
            assert row
            self.titles[int(str(row["id"]))] = f"new {turn}"
        elif turn % 11 == 0:
            with connection.transaction():
                connection.execute("DELETE FROM topic_atoms WHERE atom_id = %s", (target,))
                connection.execute("DELETE FROM atoms WHERE id = %s", (target,))
            self.deleted.add(target)
        elif target not in self.deleted:
            stamp = ", updated_at = clock_timestamp()" if turn % 2 else ""
            connection.execute(f"UPDATE atoms SET title = %s{stamp} WHERE id = %s", (f"edit {turn}", target))  # noqa: S608
            self.titles[target] = f"edit {turn}"


def test_users_lose_no_acknowledged_change_while_it_runs_is_killed_and_runs_again(expanded: Database) -> None:
    fill(expanded)
    users = Users(expanded)
    users.start()
    try:
        child = started(expanded)
        after_batches(child, 20)
        child.kill()
        child.communicate()
        with expanded.connect("test") as connection:
            wait_for_sessions(connection)
        child = started(expanded)
        after_batches(child, 20)
    finally:
        users.over.set()
        users.join()
    child.communicate()
    assert users.failures == []
    backfill(expanded)
    with expanded.connect("test") as connection:
        assert broken_rules(connection) == {}
        found = {row["id"]: row["title"] for row in connection.execute("SELECT id, title FROM atoms").fetchall()}
        expected = {number: title for number, title in users.titles.items() if number not in users.deleted}
        assert {number: found.get(number) for number in expected} == expected
        assert not users.deleted & found.keys()


def test_a_lost_connection_says_what_stays_and_what_to_do(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:

        def end_session(_: object) -> None:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%%backfill topic%%'"
            )

        with pytest.raises(MigrationError, match="committed stay; run the backfill again"):
            backfill(expanded, on_progress=end_session)
        backfill(expanded)
        assert broken_rules(connection) == {}
