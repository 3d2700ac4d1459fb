"""The rollback of phase 1 deletes no proposal that exists nowhere else, and it can be stopped or killed anywhere."""

import json
import resource
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from psycopg import sql

from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, MigrationError, PreconditionError
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.rollback.schema import proposals_without_copy, rollback_schema
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.ddl import StepResult
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION, TARGET_REVISION
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import clone, cloned, drop
from knowledge_migration_tests.serving import serving

BRIEF = SchemaChangeSettings(lock_timeout_ms=50, attempts=3, retry_max_seconds=0.2, sleep=lambda seconds: None)
RUN = uuid.UUID(int=1)
BACKFILLED = uuid.UUID(int=10)
PENDING = uuid.UUID(int=11)

CHILD = """
import sys
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.schema.ddl import SchemaChangeSettings
from knowledge_migration.engine.rollback.schema import rollback_schema

def tell(result):
    print(result.step.object, flush=True)
    sys.stdin.readline()

rollback_schema(Database(sys.argv[1]), SchemaChangeSettings(), reason="to be killed", on_step=tell)
"""


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[Database]:
    """Phase 1 done, and a topic with its backfilled proposal."""
    database = clone(server)
    schema.upgrade(database, BRIEF)
    with database.connect("test template") as connection:
        connection.execute("INSERT INTO topics (id, name, description) VALUES (1, 'Locks', 'Who waits for whom')")
        connection.execute(
            "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (%s, '[]', 0)", (RUN,)
        )
        propose(connection, BACKFILLED, status="approved", review_action="auto_approve_migration", confidence=None)
        connection.execute(
            "UPDATE topics SET migrated_from_proposal_id = %s, migration_timestamp = now()", (BACKFILLED,)
        )
    yield database
    drop(server, database)


@pytest.fixture
def migrated(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    """A copy of it for one test."""
    with cloned(server, template.name) as database:
        yield database


@pytest.fixture
def connection(migrated: Database) -> Iterator[Connection]:
    """A session of the application on it."""
    with migrated.connect("application") as session:
        yield session


@pytest.fixture(scope="module")
def kept(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    """One copy for the tests in which the rollback is refused, with two topic proposals and an atom proposal to lose."""
    database = clone(server, template.name)
    with database.connect("test template") as connection:
        propose(connection, PENDING, description="x" * 100_000)
        propose(connection, uuid.uuid4(), status="auto_approved", review_action="dual_write")
        propose_atom(connection, "rejected")
    yield database
    with database.connect() as connection:
        assert current_revision(connection) == TARGET_REVISION
    assert proposal_differences(database) == []
    drop(server, database)


@pytest.fixture
def user(kept: Database) -> Iterator[Connection]:
    """A session of the application on it."""
    with kept.connect("application") as session:
        yield session


def propose(connection: Connection, id: uuid.UUID, **values: Any) -> None:
    """A topic proposal that is pending but for what is given."""
    row = {"id": id, "extraction_run_id": RUN, "name": "Locks", "description": "d", "confidence": 0.1, **values}
    columns = sql.SQL(", ").join(map(sql.Identifier, row))
    marks = sql.SQL(", ").join(map(sql.Placeholder, row))
    connection.execute(sql.SQL("INSERT INTO topic_proposals ({}) VALUES ({})").format(columns, marks), row)


def propose_atom(connection: Connection, status: str) -> None:
    """An atom proposal of a run of the application, with a number that a float cannot hold."""
    connection.execute(
        "INSERT INTO atom_proposals (extraction_run_id, type, title, content, confidence, status, meta)"
        """ VALUES (%s, 'insight', 'Ä "quoted" title', E'two\nlines', 0.1, %s, '{"n": 0.10000000000000000001}')""",
        (RUN, status),
    )


def writable(connection: Connection) -> bool:
    """Whether the application may propose and review."""
    try:
        with connection.transaction(force_rollback=True):
            propose(connection, uuid.uuid4())
            connection.execute("UPDATE topic_proposals SET status = 'rejected'")
            connection.execute("INSERT INTO knowledge_extraction_runs (message_ids, message_count) VALUES ('[]', 0)")
            propose_atom(connection, "pending")
    except psycopg.DatabaseError:
        return False
    return True


def legacy_topics(connection: Connection) -> list[dict[str, Any]]:
    """The topics as the application wrote them."""
    return connection.execute("SELECT id, name, description FROM topics ORDER BY id").fetchall()


def triggers(connection: Connection) -> list[dict[str, Any]]:
    """What the freeze puts on tables."""
    return connection.execute("SELECT tgrelid::regclass::text AS t FROM pg_trigger WHERE tgname = 'leaving'").fetchall()


def audited(connection: Connection) -> list[tuple[str, str, Any]]:
    """Action, reason and result of each audit entry."""
    rows = connection.execute("SELECT action, reason, after FROM migration.audit_log ORDER BY id").fetchall()
    return [(row["action"], row["reason"], row["after"]) for row in rows]


# --- refusals -----------------------------------------------------------------------------------------------------


def test_proposals_that_exist_nowhere_else_stop_the_rollback(kept: Database, user: Connection) -> None:
    with pytest.raises(PreconditionError, match="2 in topic_proposals, 1 in atom_proposals"):
        rollback_schema(kept, BRIEF, reason="try")

    assert proposals_without_copy(user) == {"topic_proposals": 2, "atom_proposals": 1}
    assert current_revision(user) == TARGET_REVISION
    assert writable(user)
    assert triggers(user) == []


def test_while_proposals_are_enabled_it_is_refused_because_extractions_would_fail(
    kept: Database, user: Connection, tmp_path: Path
) -> None:
    with kept.begin() as transaction:
        set_flags(transaction, {"enabled": True}, initial=Flags(), actor="a test", reason="a test")
    with pytest.raises(PreconditionError, match="knowledge-migration rollback instant"):
        rollback_schema(kept, BRIEF, reason="try", export_to=tmp_path / "proposals.jsonl")
    assert (current_revision(user), writable(user), triggers(user)) == (TARGET_REVISION, True, [])
    with kept.begin() as transaction:
        set_flags(transaction, {"enabled": False}, initial=Flags(), actor="a test", reason="a test")


def test_backfilled_proposals_alone_do_not_stop_it(migrated: Database, connection: Connection) -> None:
    before = legacy_topics(connection)

    undone = rollback_schema(migrated, BRIEF, reason="postponed", actor="ada")

    assert (undone.change.to_revision, undone.exported_rows, undone.export_file) == (EVIDENCE_REVISION, 0, None)
    assert legacy_topics(connection) == before
    assert proposals_without_copy(connection) == {}
    assert audited(connection) == [
        ("rollback schema begun", "postponed", {"exported": 0}),
        ("rollback schema", "postponed", {"revision": EVIDENCE_REVISION, "exported": 0}),
    ]


def test_a_backfill_at_work_stops_it(kept: Database, user: Connection) -> None:
    with (
        kept.connect("at work") as other,
        advisory_lock(other, BACKFILL, shared=True),
        pytest.raises(BusyError, match=f"backfill .pid {other.info.backend_pid}, knowledge_migration at work"),
    ):
        rollback_schema(kept, BRIEF, reason="try")

    assert current_revision(user) == TARGET_REVISION
    assert triggers(user) == []


def test_where_phase_1_was_never_begun_nothing_is_done(database: Database) -> None:
    undone = rollback_schema(database, BRIEF, reason="by mistake")

    assert (undone.change.from_revision, undone.change.to_revision, undone.change.changed) == (None, None, False)
    with database.connect() as session:
        assert proposals_without_copy(session) == {}


def test_a_table_of_somebody_elses_is_neither_frozen_nor_dropped(database: Database) -> None:
    schema.prepare_evidence(database, BRIEF)
    with database.connect() as session:
        session.execute("CREATE TABLE topic_proposals AS SELECT 1 AS vote")

        assert proposals_without_copy(session) == {}
        rollback_schema(database, BRIEF, reason="by mistake")

        assert session.execute("SELECT vote FROM topic_proposals").fetchall() == [{"vote": 1}]


# --- the export ---------------------------------------------------------------------------------------------------


def test_the_export_holds_every_row_and_link_and_is_for_this_user_only(
    migrated: Database, connection: Connection, tmp_path: Path
) -> None:
    propose(connection, PENDING)
    propose_atom(connection, "pending")
    connection.execute("INSERT INTO feature_flags (name) VALUES ('dual_write')")
    target = tmp_path / "proposals.jsonl"

    undone = rollback_schema(migrated, BRIEF, reason="leaving", export_to=target)

    text = target.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["table"] for line in lines] == [
        "knowledge_extraction_runs", "topic_proposals", "topic_proposals", "atom_proposals", "feature_flags", "topics",
    ]  # fmt: skip
    assert {line["row"]["id"] for line in lines if line["table"] == "topic_proposals"} == {
        str(BACKFILLED),
        str(PENDING),
    }
    assert lines[3]["row"]["content"] == "two\nlines"
    assert "0.10000000000000000001" in text
    assert (lines[5]["row"]["id"], lines[5]["row"]["migrated_from_proposal_id"]) == (1, str(BACKFILLED))
    assert (undone.exported_rows, undone.export_file) == (6, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]
    assert current_revision(connection) == EVIDENCE_REVISION


def test_a_file_that_exists_is_not_overwritten(kept: Database, user: Connection, tmp_path: Path) -> None:
    target = tmp_path / "proposals.jsonl"
    target.write_text("precious")

    with pytest.raises(MigrationError, match="exists already"):
        rollback_schema(kept, BRIEF, reason="leaving", export_to=target)

    assert target.read_text() == "precious"
    assert current_revision(user) == TARGET_REVISION
    assert writable(user)


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_cannot_be_written_changes_nothing(
    kept: Database, user: Connection, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(MigrationError, match="Nothing was changed"):
        rollback_schema(kept, BRIEF, reason="leaving", export_to=tmp_path / folder / "proposals.jsonl")

    assert current_revision(user) == TARGET_REVISION
    assert writable(user)


def test_a_disk_that_is_full_changes_nothing(kept: Database, user: Connection, tmp_path: Path) -> None:
    with files_limited_to(10_000), pytest.raises(MigrationError, match="Nothing was changed"):
        rollback_schema(kept, BRIEF, reason="leaving", export_to=tmp_path / "proposals.jsonl")

    assert list(tmp_path.iterdir()) == []
    assert current_revision(user) == TARGET_REVISION
    assert writable(user)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond these bytes; the server has limits of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# --- the freeze ---------------------------------------------------------------------------------------------------


def test_during_the_rollback_proposals_are_refused_and_direct_writes_and_deletes_go_on(
    migrated: Database, connection: Connection
) -> None:
    connection.execute("INSERT INTO topics (id, name, description) VALUES (2, 'Resembled', 'd')")
    propose(connection, uuid.uuid4(), status="approved", review_action="auto_approve_migration", similar_topic_id=2)
    seen: list[tuple[bool, int]] = []

    def look(result: StepResult) -> None:
        if not seen:
            refused = not writable(connection)
            connection.execute("INSERT INTO topics (id, name, description) VALUES (3, 'written directly', 'd')")
            seen.append((refused, connection.execute("DELETE FROM topics WHERE id = 2").rowcount))

    rollback_schema(migrated, BRIEF, reason="leaving", on_step=look)

    assert seen == [(True, 1)]
    assert [row["name"] for row in legacy_topics(connection)] == ["Locks", "written directly"]


def test_during_the_rollback_the_service_says_why_it_refuses_a_decision(
    migrated: Database, connection: Connection
) -> None:
    propose(connection, PENDING)
    answers: list[httpx.Response] = []

    def decide(_: StepResult) -> None:
        if not answers:
            answers.append(httpx.post(f"{url}/api/v1/knowledge/proposals/{PENDING}/reject", timeout=30))

    with serving(migrated) as url, TemporaryDirectory() as folder:
        rollback_schema(migrated, BRIEF, reason="leaving", export_to=Path(folder) / "export", on_step=decide)
    assert answers[0].status_code == 503
    assert "being removed" in answers[0].text


def test_a_rollback_that_is_blocked_leaves_the_tables_writable_and_goes_on_later(
    migrated: Database, connection: Connection
) -> None:
    limits = BRIEF.replaced(blocker_age_seconds=0)
    with migrated.connect("application") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT FROM topics")
        with pytest.raises(BlockedError, match=f"pid {reader.info.backend_pid}"):
            rollback_schema(migrated, limits, reason="leaving")
        assert writable(connection)
        assert triggers(connection) == []

    assert rollback_schema(migrated, limits, reason="leaving").change.to_revision == EVIDENCE_REVISION


def test_a_writer_at_work_is_not_cut_short_by_the_freeze(migrated: Database, connection: Connection) -> None:
    with migrated.connect("application") as writer:
        writer.execute("BEGIN")
        propose(writer, PENDING)
        with pytest.raises(BlockedError, match="The freeze could not lock topic_proposals"):
            rollback_schema(migrated, BRIEF, reason="leaving")
        writer.execute("COMMIT")

    assert writable(connection)
    with pytest.raises(PreconditionError, match="1 in topic_proposals"):
        rollback_schema(migrated, BRIEF, reason="leaving")


@pytest.mark.parametrize("last", ["public.idx_topic_atoms_atom", "public.atom_proposals"])
def test_a_rollback_that_was_killed_ends_its_freeze_and_is_completed_by_another(
    migrated: Database, connection: Connection, last: str
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, migrated.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    while (told := child.stdout.readline().strip()) != last:
        assert told, "the child ended by itself"
        child.stdin.write("\n")
        child.stdin.flush()
    frozen = not inserts_a_proposal(connection)
    child.kill()
    child.communicate()
    gone: LiteralString = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'"
    while connection.execute(gone).fetchone() != {"n": 0}:
        time.sleep(0.01)

    assert frozen
    assert inserts_a_proposal(connection)
    assert rollback_schema(migrated, BRIEF, reason="again").change.to_revision == EVIDENCE_REVISION
    assert [row["name"] for row in legacy_topics(connection)] == ["Locks"]


def inserts_a_proposal(connection: Connection) -> bool:
    """Whether the application may propose a topic."""
    try:
        with connection.transaction(force_rollback=True):
            propose(connection, uuid.uuid4())
    except psycopg.DatabaseError:
        return False
    return True
