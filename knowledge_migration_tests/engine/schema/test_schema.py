"""The schema phase on real servers: it equals the declaration, is completed after any crash, and keeps out of the way."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import as_file
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.catalog import legacy_differences, proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, MigrationError, PreconditionError
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.foundation.sql_files import sql_root, text_of
from knowledge_migration.engine.schema import capture
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.ddl import object_state, pause
from knowledge_migration.engine.schema.stall_probe import probing
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION, STEPS, TARGET_REVISION, Step
from knowledge_migration.knowledge import tables
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned, drop
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.own_server import own_server

BRIEF = SchemaChangeSettings(lock_timeout_ms=50, attempts=3, retry_max_seconds=0.2, sleep=lambda seconds: None)
RUN = uuid.UUID(int=1)
SQUAWK_RULES = Path(__file__).parents[3] / "squawk.toml"
PROPOSAL = uuid.UUID(int=2)
OTHER_SCHEMA_SESSIONS: LiteralString = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'knowledge_migration schema'"
)

CHILD = """
import os, signal, sys
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.schema.ddl import SchemaChangeSettings

def until(url, last):
    def tell(result):
        if result.step.object == last:
            os.write(1, f"{url} {last}\\n".encode())
            signal.pause()
    return tell

way, *walks = sys.argv[1:]
for url, last in zip(walks[::2], walks[1::2]):
    if os.fork() == 0:
        try:
            if way == "up":
                schema.upgrade(Database(url), SchemaChangeSettings(), on_step=until(url, last))
            else:
                schema.downgrade(Database(url), SchemaChangeSettings(), to=None, on_step=until(url, last))
        finally:
            os.write(1, f"{url} ended by itself\\n".encode())
signal.pause()
"""


def seed(connection: Connection) -> None:
    """A topic, an atom of it and a user, as the application writes them."""
    connection.execute("INSERT INTO users (id, first_name, is_active, is_bot) VALUES (1, 'Ada', true, false)")
    connection.execute("INSERT INTO topics (id, name, description) VALUES (1, 'Locks', 'Who waits for whom')")
    connection.execute(
        "INSERT INTO atoms (id, type, title, content, user_approved, meta)"
        """ VALUES (1, 'insight', 'Queues', 'A waiting lock blocks later ones', false, '{"a": 1}')"""
    )
    connection.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (1, 1)")


def insert(connection: Connection, table: str, **values: Any) -> None:
    """One row of a table of the proposal workflow."""
    columns = sql.SQL(", ").join(map(sql.Identifier, values))
    marks = sql.SQL(", ").join(map(sql.Placeholder, values))
    connection.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), columns, marks), values)


def propose(connection: Connection, **values: Any) -> None:
    """A run and one topic proposal of it that is sound but for what is given."""
    connection.execute(
        "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (%s, '[]', 0)"
        " ON CONFLICT DO NOTHING",
        (RUN,),
    )
    sound = {"extraction_run_id": RUN, "name": "Locks", "description": "Who waits", "confidence": 0.8}
    insert(connection, "topic_proposals", **{**sound, **values})


def public_catalog(connection: Connection) -> set[tuple[object, ...]]:
    """Every column, index, constraint, trigger and relation of schema public; positions of columns do not count."""
    queries = (
        "SELECT 'relation', relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,"
        " (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)"
        " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped AND relkind = 'r'",
        "SELECT 'index', pg_get_indexdef(indexrelid), indisvalid FROM pg_index"
        " JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = 'public'::regnamespace",
        "SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "SELECT 'trigger', tgrelid::regclass::text, tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal",
    )
    return {tuple(row.values()) for query in queries for row in connection.execute(sql.SQL(query))}


def legacy_rows(connection: Connection) -> dict[str, str]:
    """A checksum per legacy table over all of its rows."""
    query = "SELECT coalesce(md5(string_agg(legacy::text, '|' ORDER BY legacy::text)), '') AS sum FROM {} AS legacy"
    return {
        table.name: connection.execute(sql.SQL(query).format(sql.Identifier(table.name))).fetchone()["sum"]  # type: ignore[index]
        for table in tables.legacy.sorted_tables
    }


def step(name: str) -> Step:
    """The step that makes the object."""
    return next(step for step in STEPS if step.object == name and step.kind != "validation")


def own_schema(connection: Connection) -> bool:
    """Whether schema `migration` is there."""
    return connection.execute("SELECT to_regnamespace('migration') IS NOT NULL AS there").fetchone() == {"there": True}


@contextmanager
def transaction_on(database: Database, query: str) -> Iterator[Connection]:
    """A session of the application that stays in the transaction in which it ran the query, until it is told to end."""
    with database.connect("application") as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute(sql.SQL(query))
        yield session


def until(condition: Callable[[], bool]) -> None:
    """Waits for what is about to happen; fails when it does not within a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.01)


def kill_after(way: str, walks: Sequence[tuple[Database, str]]) -> None:
    """Walks each database in a process of its own, and kills each when it has made or reverted that object."""
    arguments = [part for database, last in walks for part in (database.url, last)]
    family = subprocess.Popen(
        [sys.executable, "-c", CHILD, way, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert family.stdout is not None
    try:
        told = {family.stdout.readline().strip() for _ in walks}
    finally:
        os.killpg(family.pid, signal.SIGKILL)
        family.communicate()
    assert told == {f"{database.url} {last}" for database, last in walks}
    for database, _ in walks:
        with database.connect("test") as connection:
            until(lambda: connection.execute(OTHER_SCHEMA_SESSIONS).fetchall() == [])


# --- what it makes ------------------------------------------------------------------------------------------------


def test_the_upgraded_schema_equals_the_declaration(any_database: Database) -> None:
    change = schema.upgrade(any_database, BRIEF)

    assert (change.from_revision, change.to_revision, change.changed) == (None, TARGET_REVISION, True)
    assert [result.step for result in change.steps] == list(STEPS)
    assert proposal_differences(any_database) == []
    assert legacy_differences(any_database) == []


def test_a_second_upgrade_does_nothing(any_expanded: Database) -> None:
    with any_expanded.connect() as connection:
        before = public_catalog(connection)
        again = schema.upgrade(any_expanded, BRIEF)

        assert not again.changed
        assert {(result.outcome, result.attempts) for result in again.steps} == {("already_done", 0)}
        assert public_catalog(connection) == before


def test_every_step_has_a_statement_for_each_direction_and_every_file_a_step() -> None:
    assert all(step.command(direction).as_string().strip() for step in STEPS for direction in ("up", "down"))
    with as_file(sql_root()) as root:
        files = {os.fspath(file.relative_to(root / "schema").with_suffix("")) for file in root.glob("schema/**/*.sql")}

    assert files == {f"{step.revision}/{step.file}" for step in (*STEPS, *capture.STEPS)} | {"migration_schema"}


@pytest.mark.parametrize("concurrently", [False, True], ids=["in a transaction", "outside"])
def test_squawk_accepts_every_statement_as_it_is_executed(tmp_path: Path, concurrently: bool) -> None:
    commands = {step.object.replace(".", "_") + f"_{step.kind}": step.command("up").as_string() for step in STEPS}
    commands["migration_schema"] = text_of("schema/migration_schema/up")
    for name, command in commands.items():
        if ("CONCURRENTLY" in command) is concurrently:
            (tmp_path / f"{name}.sql").write_text(command)
    files = [os.fspath(file) for file in sorted(tmp_path.iterdir())]
    linter = [os.fspath(Path(sys.executable).with_name("squawk")), "--config", os.fspath(SQUAWK_RULES)]
    options = [] if concurrently else ["--assume-in-transaction"]

    result = subprocess.run([*linter, *options, *files], check=False, capture_output=True, text=True)

    assert len(files) == (3 if concurrently else len(STEPS) - 2)
    assert result.returncode == 0, result.stdout


def test_a_topic_that_a_proposal_resembles_can_be_deleted(upgraded: Connection) -> None:
    seed(upgraded)
    propose(upgraded, similar_topic_id=1, reviewed_by_user_id=1)
    upgraded.execute("DELETE FROM topic_atoms")
    upgraded.execute("DELETE FROM topics WHERE id = 1")
    upgraded.execute("DELETE FROM users WHERE id = 1")

    left = upgraded.execute("SELECT name, similar_topic_id, reviewed_by_user_id FROM topic_proposals").fetchall()

    assert left == [{"name": "Locks", "similar_topic_id": None, "reviewed_by_user_id": None}]


def test_a_run_with_proposals_cannot_be_deleted(upgraded: Connection) -> None:
    propose(upgraded)

    with refused(upgraded, psycopg.errors.IntegrityError):
        upgraded.execute("DELETE FROM knowledge_extraction_runs")


def test_one_proposal_is_the_origin_of_one_row_only(upgraded: Connection) -> None:
    seed(upgraded)
    propose(upgraded, id=PROPOSAL)
    upgraded.execute("UPDATE topics SET migrated_from_proposal_id = %s", (PROPOSAL,))

    with refused(upgraded, psycopg.errors.UniqueViolation):
        insert(upgraded, "topics", id=2, name="Other", description="x", migrated_from_proposal_id=PROPOSAL)


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("status", "auto"),
        ("status", "Pending"),
        ("similarity_type", "none"),
        ("review_action", "auto_approved"),
        ("confidence", 1.000001),
        ("confidence", -0.1),
        ("confidence", float("nan")),
        ("confidence", None),
        ("similarity_score", 1.1),
    ],
)
def test_a_proposal_refuses_a_value_outside_the_vocabulary(
    upgraded: Connection, column: str, wrong: str | float | None
) -> None:
    with refused(upgraded, psycopg.errors.CheckViolation):
        propose(upgraded, **{column: wrong})
    with refused(upgraded, psycopg.errors.CheckViolation):
        insert_atom_proposal(upgraded, **{column: wrong})


def test_a_run_refuses_a_status_outside_the_vocabulary(upgraded: Connection) -> None:
    with refused(upgraded, psycopg.errors.CheckViolation):
        insert(upgraded, "knowledge_extraction_runs", message_ids="[]", message_count=0, status="done")


@pytest.mark.parametrize(
    ("column", "allowed"),
    [
        ("status", tables.PROPOSAL_STATUSES),
        ("similarity_type", tables.SIMILARITY_TYPES),
        ("review_action", tables.REVIEW_ACTIONS),
    ],
)
def test_a_proposal_takes_every_value_of_the_vocabulary(
    upgraded: Connection, column: str, allowed: tuple[str, ...]
) -> None:
    for value in allowed:
        propose(upgraded, **{column: value})
        insert_atom_proposal(upgraded, **{column: value})


def insert_atom_proposal(connection: Connection, **values: Any) -> None:
    """An atom proposal of the run that is sound but for what is given."""
    connection.execute(
        "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (%s, '[]', 0)"
        " ON CONFLICT DO NOTHING",
        (RUN,),
    )
    sound = {"extraction_run_id": RUN, "type": "insight", "title": "t", "content": "c", "confidence": 0.0}
    insert(connection, "atom_proposals", **{**sound, **values})


@pytest.fixture(scope="module")
def upgraded_database(server: EmbeddedServer) -> Iterator[Database]:
    """One database in which the phase is done, for tests that change rows only."""
    with cloned(server, EXPANDED_TEMPLATE) as database:
        yield database


@pytest.fixture
def upgraded(upgraded_database: Database) -> Iterator[Connection]:
    """A session on it whose work is taken back."""
    with upgraded_database.connect("test") as session, session.transaction(force_rollback=True):
        yield session


@pytest.fixture
def expanded_session(expanded: Database) -> Iterator[Connection]:
    """A session on a database after the phase that a test changes."""
    with expanded.connect("test") as session:
        yield session


@contextmanager
def refused(connection: Connection, error: type[psycopg.Error], match: str | None = None) -> Iterator[None]:
    """Around a statement that the database refuses; the transaction goes on."""
    with pytest.raises(error, match=match), connection.transaction():
        yield


def test_the_audit_log_refuses_every_change_of_what_is_written(upgraded: Connection) -> None:
    audit.record(
        upgraded, AuditAction.CORRECT_LINK, "audit log", reason="to change it", before={"a": 0}, after={"a": 1}
    )

    changes: tuple[LiteralString, ...] = (
        "UPDATE migration.audit_log SET actor = 'x'",
        "DELETE FROM migration.audit_log",
        "TRUNCATE migration.audit_log",
    )
    for change in changes:
        with refused(upgraded, psycopg.errors.RaiseException, "append-only"):
            upgraded.execute(change)

    assert upgraded.execute("SELECT action, before, after FROM migration.audit_log").fetchall() == [
        {"action": "correct link", "before": {"a": 0}, "after": {"a": 1}}
    ]


def test_the_audit_log_names_a_user_that_has_a_number_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)

    assert audit.operator().startswith("uid 54321@")


@pytest.mark.parametrize("table", ["topics", "atoms"])
def test_the_id_of_an_origin_proposal_is_the_name_based_uuid_of_table_and_row(upgraded: Connection, table: str) -> None:
    ids = [1, 123, 10**6, 2**63 - 1]

    query = "SELECT migration.origin_proposal_id(%s, id) AS uuid FROM unnest(%s::bigint[]) AS id"
    found = [row["uuid"] for row in upgraded.execute(query, (table, ids))]

    space = uuid.UUID(bytes=b"knowledge/origin")
    assert found == [uuid.uuid3(space, f"{table}/{number}") for number in ids]


# --- what it leaves alone -----------------------------------------------------------------------------------------


def test_a_downgrade_to_the_evidence_leaves_the_legacy_schema_and_rows_as_they_were(any_database: Database) -> None:
    with any_database.connect() as connection:
        seed(connection)
        catalog, rows = public_catalog(connection), legacy_rows(connection)
        schema.upgrade(any_database, BRIEF)
        propose(connection, id=PROPOSAL, similar_topic_id=1)
        connection.execute("UPDATE topics SET migrated_from_proposal_id = %s, migration_timestamp = now()", (PROPOSAL,))

        change = schema.downgrade(any_database, BRIEF)

        assert change.to_revision == EVIDENCE_REVISION
        assert public_catalog(connection) == catalog
        assert legacy_rows(connection) == rows
        assert own_schema(connection)


def test_a_downgrade_of_everything_removes_our_own_schema_too(any_database: Database) -> None:
    with any_database.connect() as connection:
        catalog = public_catalog(connection)
        schema.upgrade(any_database, BRIEF)

        change = schema.downgrade(any_database, BRIEF, to=None)

        assert change.to_revision is None
        assert public_catalog(connection) == catalog
        assert not own_schema(connection)
        assert not schema.downgrade(any_database, BRIEF, to=None).changed


def test_the_applications_own_alembic_version_is_not_touched(database: Database, connection: Connection) -> None:
    connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    connection.execute("INSERT INTO alembic_version VALUES ('f00dfeed')")

    schema.upgrade(database, BRIEF)
    schema.downgrade(database, BRIEF, to=None)

    assert connection.execute("SELECT * FROM public.alembic_version").fetchall() == [{"version_num": "f00dfeed"}]


def test_objects_of_somebody_elses_are_neither_adopted_nor_dropped(database: Database, connection: Connection) -> None:
    schema.prepare_evidence(database, BRIEF)
    connection.execute("CREATE TABLE feature_flags (name text PRIMARY KEY, value text)")
    connection.execute("CREATE INDEX idx_topic_atoms_atom ON topic_atoms (atom_id)")
    connection.execute("ALTER TABLE atoms ADD COLUMN migration_timestamp date")
    connection.execute("CREATE VIEW topic_proposals AS SELECT 1 AS id")
    catalog = public_catalog(connection)

    with pytest.raises(PreconditionError) as refused:
        schema.upgrade(database, BRIEF)
    assert (
        "not created the objects: public.atoms.migration_timestamp, public.feature_flags, public.idx_topic_atoms_atom, "
        "public.topic_proposals."
    ) in str(refused.value)
    assert current_revision(connection) == EVIDENCE_REVISION
    schema.downgrade(database, BRIEF)
    schema.downgrade(database, BRIEF, to=None)

    assert public_catalog(connection) == catalog


def test_a_table_that_somebody_makes_under_our_name_after_a_crash_is_not_dropped(
    database: Database, connection: Connection
) -> None:
    kill_after("up", [(database, "public.atom_proposals")])
    connection.execute("CREATE TABLE feature_flags (name text)")

    with pytest.raises(PreconditionError, match=r"public\.feature_flags"):
        schema.upgrade(database, BRIEF)
    schema.downgrade(database, BRIEF, to=None)

    assert connection.execute("SELECT to_regclass('public.feature_flags') IS NOT NULL AS there").fetchone() == {
        "there": True
    }
    assert object_state(connection, step("public.atom_proposals")) == "missing"


def test_a_schema_migration_of_somebody_elses_is_left_alone(database: Database, connection: Connection) -> None:
    connection.execute("CREATE SCHEMA migration")
    connection.execute("CREATE TABLE migration.plan AS SELECT 1 AS week")

    with pytest.raises(PreconditionError, match=r"migration\.plan"):
        schema.prepare_evidence(database, BRIEF)
    schema.downgrade(database, BRIEF, to=None)

    assert connection.execute("SELECT week FROM migration.plan").fetchall() == [{"week": 1}]


def test_what_somebody_keeps_in_our_schema_stops_its_removal(expanded: Database, expanded_session: Connection) -> None:
    expanded_session.execute("CREATE VIEW migration.dashboard AS SELECT 1 AS panel")

    with pytest.raises(MigrationError, match=r"migration\.dashboard"):
        schema.downgrade(expanded, BRIEF, to=None)
    assert expanded_session.execute("SELECT panel FROM migration.dashboard").fetchall() == [{"panel": 1}]

    expanded_session.execute("DROP VIEW migration.dashboard")
    schema.downgrade(expanded, BRIEF, to=None)
    assert not own_schema(expanded_session)


def test_an_empty_schema_that_was_made_for_us_is_used(database: Database, connection: Connection) -> None:
    connection.execute("CREATE SCHEMA migration")

    assert schema.prepare_evidence(database, BRIEF).to_revision == EVIDENCE_REVISION


@pytest.mark.parametrize("walk", [schema.upgrade, schema.downgrade])
def test_a_revision_that_this_version_does_not_know_is_refused(
    expanded: Database, expanded_session: Connection, walk: Callable[..., schema.SchemaChange]
) -> None:
    expanded_session.execute("UPDATE migration.alembic_version SET version_num = '0099_later'")
    catalog = public_catalog(expanded_session)

    with pytest.raises(MigrationError, match="'0099_later', which this version does not know"):
        walk(expanded, BRIEF)

    assert public_catalog(expanded_session) == catalog


# --- crashes ------------------------------------------------------------------------------------------------------


def test_an_upgrade_that_was_killed_anywhere_is_completed_or_taken_back(server: EmbeddedServer) -> None:
    legacy, complete = catalogs(server)
    completed = [
        "migration.evidence",
        "public.topics.migrated_from_proposal_id",
        "public.idx_topics_migration",
    ]
    taken_back = [
        "migration.audit_log",
        "public.topic_proposals",
        "public.topics.migrated_from_proposal_id",
        "public.topics.topics_migrated_from_proposal_id_fkey",
        "public.idx_topic_atoms_atom",
    ]
    walks = [(clone(server), last) for last in (*completed, *taken_back)]
    kill_after("up", walks)

    for database, last in walks[: len(completed)]:
        schema.upgrade(database, BRIEF)
        assert catalog_of(database) == complete, f"killed after {last}"
        drop(server, database)
    for database, last in walks[len(completed) :]:
        schema.downgrade(database, BRIEF, to=None)
        assert catalog_of(database) == legacy, f"killed after {last}"
        drop(server, database)


def test_a_downgrade_that_was_killed_anywhere_is_completed_or_taken_back(server: EmbeddedServer) -> None:
    legacy, complete = catalogs(server)
    completed = ["public.idx_atoms_migration", "public.atom_proposals", "migration.backfill_batch"]
    taken_back = ["public.idx_atoms_migration", "public.atoms.migrated_from_proposal_id", "migration.evidence"]
    walks = [(clone(server, EXPANDED_TEMPLATE), last) for last in (*completed, *taken_back)]
    kill_after("down", walks)

    for database, last in walks[: len(completed)]:
        schema.downgrade(database, BRIEF, to=None)
        assert catalog_of(database) == legacy, f"killed after {last}"
        drop(server, database)
    for database, last in walks[len(completed) :]:
        schema.upgrade(database, BRIEF)
        assert catalog_of(database) == complete, f"killed after {last}"
        drop(server, database)


def catalog_of(database: Database) -> set[tuple[object, ...]]:
    """The catalog of schema public, and what there is of ours."""
    with database.connect() as connection:
        ours = connection.execute(
            "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = to_regnamespace('migration')"
        )
        return public_catalog(connection) | {("ours", *row.values()) for row in ours}


def catalogs(server: EmbeddedServer) -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """The catalog before the phase, and after it without differences."""
    database = clone(server)
    legacy = catalog_of(database)
    schema.upgrade(database, BRIEF)
    assert proposal_differences(database) == []
    complete = catalog_of(database)
    drop(server, database)
    return legacy, complete


def test_an_invalid_index_of_a_broken_build_is_dropped_and_built_again(any_database: Database) -> None:
    index = step("public.idx_topics_migration")
    schema.upgrade(any_database, BRIEF, to="0004_references")
    with any_database.connect() as connection:
        propose(connection, id=PROPOSAL)
        for name in ("first", "second"):
            insert(connection, "topics", name=name, description="d", migrated_from_proposal_id=PROPOSAL)

        with pytest.raises(MigrationError, match=r"(?s)idx_topics_migration.*duplicated"):
            schema.upgrade(any_database, BRIEF)
        assert object_state(connection, index) == "invalid"
        assert current_revision(connection) == "0004_references"

        connection.execute("DELETE FROM topics WHERE name = 'second'")
        again = schema.upgrade(any_database, BRIEF)

        assert ("done", index) in [(result.outcome, result.step) for result in again.steps]
        assert object_state(connection, index) == "present"
    assert proposal_differences(any_database) == []


def test_what_somebody_has_taken_away_since_is_made_again(expanded: Database, expanded_session: Connection) -> None:
    expanded_session.execute("DROP INDEX idx_atoms_migration")
    expanded_session.execute("ALTER TABLE topics DROP CONSTRAINT topics_migrated_from_proposal_id_fkey")

    again = schema.upgrade(expanded, BRIEF)

    assert [result.step.object for result in again.steps if result.outcome == "done"] == [
        "public.topics.topics_migrated_from_proposal_id_fkey",
        "public.idx_atoms_migration",
        "public.topics.topics_migrated_from_proposal_id_fkey",
    ]
    assert proposal_differences(expanded) == []


# --- others at work -----------------------------------------------------------------------------------------------


def test_a_second_operator_is_told_who_is_at_it(database: Database, connection: Connection) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(result: object) -> None:
        begun.set()
        assert go_on.wait(60)

    first = threading.Thread(target=lambda: schema.upgrade(database, BRIEF, on_step=wait))
    first.start()
    try:
        assert begun.wait(60)
        holder = connection.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'").fetchall()
        with pytest.raises(
            BusyError, match=rf"changing the schema \(pid {holder[0]['pid']}, knowledge_migration schema"
        ):
            schema.upgrade(database, BRIEF)
        with pytest.raises(BusyError):
            schema.downgrade(database, BRIEF)
    finally:
        go_on.set()
        first.join()

    assert proposal_differences(database) == []


@pytest.mark.parametrize("blocker_age_seconds", [0.0, 3600.0], ids=["waits beside the queue", "queues briefly"])
def test_a_blocker_that_never_ends_is_named_and_the_step_is_not_applied(
    database: Database, blocker_age_seconds: float
) -> None:
    limits = BRIEF.replaced(blocker_age_seconds=blocker_age_seconds)
    column = step("public.topics.migrated_from_proposal_id")
    with transaction_on(database, "SELECT count(*) AS a_report FROM topics") as reader:
        with pytest.raises(BlockedError) as blocked:
            schema.upgrade(database, limits)

        message = str(blocked.value)
        assert f"pid {reader.info.backend_pid} (knowledge_migration application" in message
        assert "holds AccessShareLock on topics" in message
        assert "SELECT count(*) AS a_report FROM topics" in message
        with database.connect() as connection:
            assert object_state(connection, column) == "missing"
            assert current_revision(connection) == "0002_proposal_tables"

    schema.upgrade(database, limits)
    assert proposal_differences(database) == []


def test_a_blocker_that_this_role_may_not_look_at_is_named_all_the_same(
    server: EmbeddedServer, database: Database, connection: Connection
) -> None:
    role = f"owner_{os.getpid()}"
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    give_everything(connection, role)
    owner = Database(database.url.replace("//postgres@", f"//{role}@"))
    with (
        transaction_on(database, "SELECT FROM topics") as reader,
        pytest.raises(BlockedError, match=rf"pid {reader.info.backend_pid} .*transaction of unknown age"),
    ):
        schema.upgrade(owner, BRIEF)

    schema.upgrade(owner, BRIEF)
    assert proposal_differences(owner) == []
    for end in ("REASSIGN OWNED BY {} TO postgres", "DROP OWNED BY {}", "DROP ROLE {}"):
        connection.execute(sql.SQL(end).format(sql.Identifier(role)))


@pytest.mark.parametrize("blocker_age_seconds", [0.0, 3600.0], ids=["it is seen", "it is met"])
def test_an_autovacuum_that_has_a_table_gives_way(server: EmbeddedServer, blocker_age_seconds: float) -> None:
    slow = "autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100"
    with (
        own_server(server, "autovacuum_naptime=1", "autovacuum_vacuum_cost_limit=1") as database,
        database.connect("test") as connection,
    ):
        connection.execute(text_of("legacy/schema"))
        connection.execute("CREATE ROLE owner LOGIN")
        give_everything(connection, "owner")
        connection.execute(
            "INSERT INTO topics (name, description, icon, color) "
            "SELECT n::text, repeat('a page has a few of them ', 40), 'FolderIcon', '#64748B' FROM generate_series(1, 4000) AS n"
        )
        connection.execute("UPDATE topics SET color = '#000000'")
        connection.execute(sql.SQL(f"ALTER TABLE topics SET ({slow}, autovacuum_vacuum_cost_limit = 1)"))
        vacuums = partial(
            connection.execute,
            "SELECT FROM pg_locks WHERE relation = 'topics'::regclass AND mode = 'ShareUpdateExclusiveLock'",
        )
        comes_true(lambda: vacuums().fetchone() is not None)
        owner = Database(database.url.replace("//postgres@", "//owner@"))
        schema.upgrade(owner, BRIEF.replaced(attempts=3, blocker_age_seconds=blocker_age_seconds))
        assert proposal_differences(owner) == []


def give_everything(connection: Connection, role: str) -> None:
    """Makes the role the owner of the database and of its tables."""
    name = connection.info.dbname
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(role)))
    connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role)))
    for table in tables.legacy.sorted_tables:
        connection.execute(
            sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table.name), sql.Identifier(role))
        )


def test_an_index_build_that_waits_too_long_names_the_open_transactions(
    database: Database, connection: Connection
) -> None:
    schema.upgrade(database, BRIEF, to="0004_references")
    limits = BRIEF.replaced(index_build_timeout_minutes=0.01)
    with transaction_on(database, "SELECT count(*) AS elsewhere FROM users") as reader:
        with pytest.raises(BlockedError) as blocked:
            schema.upgrade(database, limits)

        assert "public.idx_topics_migration" in str(blocked.value)
        assert f"pid {reader.info.backend_pid} " in str(blocked.value)
        assert "AS elsewhere FROM users" in str(blocked.value)
        assert current_revision(connection) == "0004_references"

    schema.upgrade(database, BRIEF)
    assert proposal_differences(database) == []


def test_a_statement_timeout_of_the_database_does_not_stop_a_step_that_waits(
    database: Database, connection: Connection
) -> None:
    schema.upgrade(database, BRIEF, to="0002_proposal_tables")
    name = sql.Identifier(database.name)
    connection.execute(sql.SQL("ALTER DATABASE {} SET statement_timeout = 200").format(name))
    with transaction_on(database, "SELECT FROM topics") as reader:
        limits = SchemaChangeSettings(
            lock_timeout_ms=600, attempts=2, blocker_age_seconds=3600, sleep=lambda seconds: reader.rollback()
        )
        change = schema.upgrade(database, limits)

    attempts = {
        result.step.object: result.attempts for result in change.steps if result.step.name == tables.LINK_COLUMN
    }
    assert attempts == {
        "public.topics.migrated_from_proposal_id": 2,
        "public.atoms.migrated_from_proposal_id": 1,
    }


def test_no_reader_waits_for_the_end_of_a_long_transaction(
    database: Database, connection: Connection, record_property: Callable[[str, object], None]
) -> None:
    """A reader that queued behind the waiting step would wait until the transaction ends: more than 100 reads later."""
    seed(connection)
    began, held_seconds, waits = time.monotonic(), 0.0, 0
    with transaction_on(database, "SELECT FROM topics") as reader:

        def wait(seconds: float) -> None:
            nonlocal held_seconds, waits
            waits += 1
            if probe.reads.count > 100 and waits > 3 and not held_seconds:
                held_seconds = time.monotonic() - began
                reader.rollback()
            time.sleep(0.05)

        limits = SchemaChangeSettings(lock_timeout_ms=100, attempts=1000, blocker_age_seconds=3600, sleep=wait)
        with probing(database, ("topics", "atoms", "users", "topic_atoms")) as probe:
            change = schema.upgrade(database, limits)

    record_property("stall_ms", probe.stall_ms)
    attempts = {result.step.object: result.attempts for result in change.steps}
    assert attempts["public.topics.migrated_from_proposal_id"] > 2
    assert probe.failures == []
    assert probe.stall_ms < 1000 * held_seconds
    assert proposal_differences(database) == []


def test_the_pause_between_attempts_stays_within_its_limit_however_many_there_are() -> None:
    pauses: list[float] = []
    limits = SchemaChangeSettings(retry_max_seconds=5.0, sleep=pauses.append)
    for attempt in (0, 1, 5, 100, 10_000):
        pause(limits, attempt)

    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in pauses[3:])


def test_the_options_of_the_address_hold_in_every_session(database: Database, connection: Connection) -> None:
    address = Database(f"{database.url}&options=-c%20work_mem%3D7MB")

    with address.connect() as session, address.engine() as engine, engine.connect() as other:
        assert session.execute("SHOW work_mem").fetchone() == {"work_mem": "7MB"}
        assert session.execute("SHOW timezone").fetchone() == {"TimeZone": "UTC"}
        assert other.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
