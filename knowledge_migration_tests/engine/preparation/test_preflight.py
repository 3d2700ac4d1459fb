"""Each preflight check with what breaks it: exactly that is named, and the remedy it prints makes it pass."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import pytest
from sqlalchemy.engine import make_url

from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.preparation import preflight
from knowledge_migration.engine.preparation.preflight import PreflightContext
from knowledge_migration.engine.schema import capture
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import cloned
from knowledge_migration_tests.support.own_server import own_server
from knowledge_migration_tests.support.roles import role, run

BRIEF = SchemaChangeSettings(lock_timeout_ms=50, attempts=3, retry_max_seconds=0.2, sleep=lambda seconds: None)
TABLES = ("users", "sources", "telegram_profiles", "messages", "topics", "atoms", "topic_atoms", "atom_links")
SEQUENCES = ("users", "sources", "telegram_profiles", "messages", "topics", "atoms")


@contextmanager
def context_of(database: Database, **values: Any) -> Iterator[PreflightContext]:
    """What the checks look at, lenient but for what is given."""
    with database.connect("preflight") as connection:
        superuser = Database(make_url(database.url).set(username="postgres").render_as_string())
        lenient = PreflightContext(
            database, connection, backup_directory=Path("/"), scratch=superuser, long_transaction_seconds=300.0
        )
        yield replace(lenient, **values)


def asked(database: Database, check: str, **values: Any) -> CheckOutcome:
    """The outcome of one check."""
    with context_of(database, **values) as context:
        return preflight.CHECKS[check](context)


@pytest.fixture(scope="module")
def shared(server: EmbeddedServer) -> Iterator[Database]:
    """One legacy database for tests that leave it as it was."""
    with cloned(server) as database:
        yield database


@pytest.fixture
def session(shared: Database) -> Iterator[Connection]:
    """A superuser's session on it."""
    with shared.connect("test") as opened:
        yield opened


def test_every_check_passes_before_and_after_the_schema_phase(any_database: Database) -> None:
    with context_of(any_database) as context:
        before = preflight.preflight(context)
        schema.upgrade(any_database, BRIEF)
        after = preflight.preflight(context)

    assert [outcome.name for outcome in before] == list(preflight.CHECKS)
    assert [outcome for outcome in (*before, *after) if not outcome.passed] == []
    assert all(outcome.description and outcome.remedy for outcome in before)


def test_what_fails_is_named_with_its_remedy_before_a_phase_begins(database: Database, connection: Connection) -> None:
    connection.execute("DROP TABLE atom_links")

    with context_of(database) as context, pytest.raises(PreconditionError) as refused:
        preflight.require_preflight(context)

    assert "legacy_schema_is_as_expected" in str(refused.value)
    assert "atom_links" in str(refused.value)
    assert "KNOWLEDGE_MIGRATION_DATABASE_URL" in str(refused.value)


def test_a_server_that_is_too_old_is_refused(shared: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(shared, "server_version_is_supported").numbers["server_version"].startswith("18.")
    monkeypatch.setattr(preflight, "OLDEST_SERVER", 190_000)

    outcome = asked(shared, "server_version_is_supported")

    assert [list(row) for row in outcome.sample] == [["server_version_num"]]


def test_a_missing_extension_is_named(database: Database, connection: Connection) -> None:
    connection.execute("DROP EXTENSION vector CASCADE")
    outcome = asked(database, "extensions_are_installed")

    assert [row["extension"] for row in outcome.sample] == ["vector"]
    assert outcome.sample[0]["available"] != "not on this server"

    connection.execute("CREATE EXTENSION vector")
    assert asked(database, "extensions_are_installed").passed


def test_a_schema_that_differs_blocks_and_a_tolerated_difference_is_told(
    database: Database, connection: Connection
) -> None:
    connection.execute("ALTER TABLE topics ALTER name TYPE varchar(300)")
    tolerated = asked(database, "legacy_schema_is_as_expected")
    connection.execute("ALTER TABLE topics DROP COLUMN icon")
    blocked = asked(database, "legacy_schema_is_as_expected")

    assert tolerated.passed
    assert [row["object"] for row in tolerated.numbers["tolerated_differences"]] == ["column topics.name"]
    assert [row["object"] for row in blocked.sample] == ["column topics.icon"]


# --- rights -------------------------------------------------------------------------------------------------------


def test_each_right_that_is_missing_is_named_and_its_remedy_gives_it(any_database: Database) -> None:
    app, migrator = f"app {os.getpid()}", f'Mi"grator {os.getpid()}'
    with (
        any_database.connect() as connection,
        role(connection, app) as _,
        role(connection, migrator, "LOGIN NOINHERIT") as database,
    ):
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        run(connection, "GRANT ALL ON SCHEMA public TO {}", app)
        for table in TABLES:
            run(connection, "ALTER TABLE {} OWNER TO {}", table, app)
        before = asked(database, "rights_are_sufficient")

        assert {row["needed"] for row in before.sample} == {
            *(
                f"the rights of the owner of public.{table}"
                for table in ("topics", "atoms", "topic_atoms", "atom_links")
            ),
            "REFERENCES on public.users",
            "USAGE on schema public",
            *(f"SELECT on public.{table}" for table in TABLES),
            *(f"SELECT on public.{table}_id_seq" for table in SEQUENCES),
            "CREATE on schema public",
            "CREATE on the database",
            "pg_read_all_stats, for the transactions of other users",
        }
        assert before.count == len(before.sample)
        left = before.sample
        while left:
            connection.execute(left[0]["remedy"])
            given, left = left[0], asked(database, "rights_are_sufficient").sample
            assert given not in left

        with context_of(database) as context:
            preflight.require_preflight(context)
        schema.upgrade(database, BRIEF)
        assert proposal_differences(database) == []
        assert asked(database, "rights_are_sufficient").passed
        with database.connect() as limited:
            capture.install(limited, BRIEF)
            capture.remove(limited, BRIEF)
        schema.downgrade(database, BRIEF, to=None)


def test_each_right_is_asked_for_by_itself(shared: Database, session: Connection) -> None:
    with role(session, f"migrator_{os.getpid()}") as limited:
        for grant in (
            "GRANT postgres TO {}",
            "GRANT pg_read_all_stats TO {}",
        ):
            run(session, grant, str(make_url(limited.url).username))
        assert asked(limited, "rights_are_sufficient").passed

        session.execute("CREATE SCHEMA reports")
        session.execute("CREATE TABLE reports.weekly AS SELECT 1 AS week")
        assert asked(limited, "rights_are_sufficient").passed

        session.execute("DROP SCHEMA reports CASCADE")


def test_what_a_scratch_server_lacks_is_told_before_the_dump(
    any_database: Database,
) -> None:
    name, administrators = f"migrator_{os.getpid()}", "rds_superuser"
    with any_database.connect() as connection, role(connection, name) as limited:

        def lacking() -> list[tuple[str, str]]:
            sample = asked(any_database, "rights_are_sufficient", scratch=limited).sample
            assert all(row["step"].startswith("0 backup and rehearsal") and row["remedy"] for row in sample)
            return [(row["needed"], row["observed"]) for row in sample]

        untrusted = ("CREATE EXTENSION vector", "not a trusted extension, and the role is no superuser")
        assert lacking() == [("CREATEDB", "missing"), untrusted]
        connection.execute(asked(any_database, "rights_are_sufficient", scratch=limited).sample[0]["remedy"])
        assert lacking() == [untrusted]
        with role(connection, administrators, "NOLOGIN"):
            run(connection, "GRANT {} TO {}", administrators, name)
            assert lacking() == []  # as on a managed server, whose administrators may create it

    away = Database("postgresql://postgres@127.0.0.1:1/postgres")
    unreachable = asked(any_database, "rights_are_sufficient", scratch=away)
    assert [row["needed"] for row in unreachable.sample] == ["a connection"]
    assert "127.0.0.1:1" in unreachable.sample[0]["observed"]
    assert "KNOWLEDGE_MIGRATION_SCRATCH_URL" in unreachable.sample[0]["remedy"]


def test_the_rights_are_one_table_of_steps_and_an_optional_one_fails_nothing(
    shared: Database, session: Connection
) -> None:
    name = f"migrator_{os.getpid()}"
    with role(session, name) as limited:
        for grant in ("GRANT postgres TO {}", "GRANT pg_read_all_stats TO {}"):
            run(session, grant, name)
        outcome = asked(limited, "rights_are_sufficient")
    rights = {row["needed"]: row for row in outcome.numbers["rights"]}
    assert outcome.passed
    assert rights["CREATE on schema public"] == {
        "step": "1 schema",
        "needed": "CREATE on schema public",
        "observed": "granted",
        "remedy": "",
    }
    assert rights["the rights of the owner of public.atom_links"]["step"] == "2 dual write: the capture in the database"
    assert rights["the rights of the owner of 3 objects"]["step"] == "1 schema, 3 backfill, 5 cleanup"
    assert rights["CREATEDB on this server"]["observed"] == "missing; needed only for this last resort"
    assert rights["CREATEDB"]["observed"] == "granted"  # on the scratch server


def test_row_security_that_would_hide_rows_is_named(shared: Database, session: Connection) -> None:
    with role(session, f"migrator_{os.getpid()}") as limited:
        name = str(make_url(limited.url).username)
        for grant in ("GRANT pg_read_all_data TO {}", "GRANT CREATE, USAGE ON SCHEMA public TO {}"):
            run(session, grant, name)
        session.execute("ALTER TABLE messages ENABLE ROW LEVEL SECURITY")
        found = [row for row in asked(limited, "rights_are_sufficient").sample if "row security" in row["needed"]]

        assert [row["needed"] for row in found] == ["access to every row (row security) of messages"]
        session.execute(found[0]["remedy"])
        again = asked(limited, "rights_are_sufficient").sample
        assert [row for row in again if "row security" in row["needed"]] == []
        session.execute("ALTER TABLE messages DISABLE ROW LEVEL SECURITY")


# --- transactions -------------------------------------------------------------------------------------------------


def test_a_long_transaction_is_named_with_its_pid_and_query(shared: Database, session: Connection) -> None:
    with shared.connect("nightly report") as other:
        pid = other.info.backend_pid
        other.execute("BEGIN")
        other.execute("SELECT count(*) AS  a_report\nFROM topics")
        long = asked(shared, "no_transaction_is_long", long_transaction_seconds=0.0)
        young = asked(shared, "no_transaction_is_long", long_transaction_seconds=3600.0)
        other.execute("COMMIT")
        over = asked(shared, "no_transaction_is_long", long_transaction_seconds=0.0)

    assert [(row["pid"], row["application"], row["state"], row["query"]) for row in long.sample] == [
        (
            pid,
            "knowledge_migration nightly report",
            "idle in transaction",
            "SELECT count(*) AS a_report FROM topics",
        )
    ]
    assert long.sample[0]["transaction_seconds"] > 0
    assert (young.passed, over.passed) == (True, True)


def test_a_session_that_cannot_be_seen_is_not_taken_for_a_short_one(shared: Database, session: Connection) -> None:
    with role(session, f"migrator_{os.getpid()}") as limited:
        unseen = asked(limited, "no_transaction_is_long")
        assert [(row["pid"], row["state"]) for row in unseen.sample] == [
            (session.info.backend_pid, "state not visible")
        ]
        assert "pg_read_all_stats" in unseen.remedy

        run(session, "GRANT pg_read_all_stats TO {}", str(make_url(limited.url).username))
        assert asked(limited, "no_transaction_is_long").passed


@pytest.fixture(scope="module")
def preparing_server(server: EmbeddedServer) -> Iterator[Database]:
    """A server that allows prepared transactions, with the legacy schema."""
    with own_server(server, "max_prepared_transactions=5") as database:
        with database.connect("test") as connection:
            connection.execute(text_of("legacy/schema"))
        yield database


def test_a_prepared_transaction_is_named_and_so_is_the_lock_it_holds(preparing_server: Database) -> None:
    with preparing_server.connect("two phases") as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO topics (name, description) VALUES ('prepared', 'd')")
        session.execute("PREPARE TRANSACTION 'order 66'")

        found = asked(preparing_server, "no_transaction_is_long", long_transaction_seconds=3600.0)
        assert [(row["pid"], row["application"], row["state"]) for row in found.sample] == [
            (None, "prepared transaction 'order 66'", "prepared")
        ]
        with pytest.raises(
            BlockedError, match=r"prepared transaction 'order 66' of user postgres holds RowExclusiveLock"
        ):
            schema.upgrade(preparing_server, BRIEF)

        session.execute("ROLLBACK PREPARED 'order 66'")
        assert asked(preparing_server, "no_transaction_is_long").passed
        schema.upgrade(preparing_server, BRIEF)
    assert proposal_differences(preparing_server) == []


# --- disk and names -----------------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_told_and_nothing_is_made_there(shared: Database, tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    small = asked(shared, "disk_holds_the_backup", backup_directory=directory, free_bytes=lambda path: 2**20)
    real = asked(shared, "disk_holds_the_backup", backup_directory=directory)

    assert small.sample[0]["free_gib"] == 2**-10
    assert small.sample[0]["needed_gib"] > 2**-10
    assert real.passed
    assert real.numbers["free_bytes"] > real.numbers["needed_bytes"] > 2**20
    assert list(tmp_path.iterdir()) == []


def test_names_that_somebody_else_has_are_told_until_the_migration_has_made_them(
    database: Database, connection: Connection
) -> None:
    connection.execute("CREATE TABLE feature_flags (name text)")
    connection.execute("CREATE INDEX idx_atoms_migration ON atoms (title)")
    connection.execute("ALTER TABLE topics ADD COLUMN migration_timestamp date")
    expected = ["public.feature_flags", "public.idx_atoms_migration", "public.topics.migration_timestamp"]

    before = asked(database, "names_are_free")
    schema.prepare_evidence(database, BRIEF)
    after = asked(database, "names_are_free")

    assert [row["object"] for row in before.sample] == expected
    assert [row["object"] for row in after.sample] == expected
    assert after.numbers == {"recorded_revision": EVIDENCE_REVISION}


def test_our_own_objects_are_not_taken_for_somebody_elses_halfway_through_the_phase(
    database: Database, connection: Connection
) -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def wait_at_the_table(result: Any) -> None:
        if result.step.object == "public.topic_proposals":
            halfway.set()
            assert go_on.wait(60)

    upgrade = threading.Thread(target=lambda: schema.upgrade(database, BRIEF, on_step=wait_at_the_table))
    upgrade.start()
    try:
        assert halfway.wait(60)
        outcome = asked(database, "names_are_free")
    finally:
        go_on.set()
        upgrade.join()

    assert outcome.passed
    assert outcome.numbers == {"recorded_revision": EVIDENCE_REVISION}


def test_a_schema_migration_that_holds_somebody_elses_tables_is_told(
    database: Database, connection: Connection
) -> None:
    connection.execute("CREATE SCHEMA migration")
    assert asked(database, "names_are_free").passed

    connection.execute("CREATE TABLE migration.alembic_version AS SELECT 'abc' AS version_num")
    outcome = asked(database, "names_are_free")

    assert [row["object"] for row in outcome.sample] == ["migration.alembic_version"]
    assert outcome.numbers == {"recorded_revision": "abc"}


# --- what the migration does not support --------------------------------------------------------------------------


UNSUPPORTED = {
    "no_rule_rewrites_writes": (
        "CREATE RULE keep AS ON DELETE TO atoms DO INSTEAD NOTHING",
        {"table": "atoms", "rule": "keep"},
    ),
    "no_table_inherits": (
        "CREATE TABLE old_atoms () INHERITS (atoms)",
        {"parent": "atoms", "child": "old_atoms"},
    ),
    "updates_can_be_replicated": (
        "ALTER TABLE topics REPLICA IDENTITY NOTHING; CREATE PUBLICATION changes FOR TABLE topics",
        {"publication": "changes", "table": "topics"},
    ),
    "subscribers_have_the_new_columns": (
        "CREATE PUBLICATION changes FOR TABLE atoms, users",
        {"kind": "publication", "name": "changes", "table": "atoms", "all_tables": False},
    ),
    "event_triggers_allow_schema_changes": (
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'needs a ticket'; END $$;"
        "CREATE EVENT TRIGGER guard ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION refuse()",
        {"event_triggers": "guard", "says": "needs a ticket"},
    ),
}


@pytest.mark.parametrize("check", list(UNSUPPORTED))
def test_what_is_not_supported_is_refused_by_its_own_check_that_names_the_object(
    any_database: Database, check: str
) -> None:
    statement, named = UNSUPPORTED[check]
    with any_database.connect("test") as connection:
        assert asked(any_database, check).passed
        connection.execute(statement.encode())
    outcome = asked(any_database, check)
    assert outcome.sample == (named,)
    assert outcome.remedy


def test_replication_stops_nothing_once_confirmed_or_limited_to_columns_or_once_the_columns_exist(
    any_database: Database,
) -> None:
    check = "subscribers_have_the_new_columns"
    with any_database.connect("test") as connection:
        connection.execute("CREATE PUBLICATION listed FOR TABLE topics (id, name)")
        assert asked(any_database, check).passed
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    outcome = asked(any_database, check)
    assert [(row["name"], row["table"], row["all_tables"]) for row in outcome.sample] == [
        ("everything", "atoms", True),
        ("everything", "topics", True),
    ]
    assert asked(any_database, check, subscribers_ready=True).passed
    schema.upgrade(any_database, BRIEF)
    assert asked(any_database, check).passed


def test_row_security_that_applies_to_the_role_is_named(database: Database, connection: Connection) -> None:
    connection.execute("ALTER TABLE atoms ENABLE ROW LEVEL SECURITY")
    assert asked(database, "no_row_is_hidden_by_row_security").passed  # a superuser sees every row
    with role(connection, f"limited_{os.getpid()}") as limited:
        run(connection, "GRANT ALL ON ALL TABLES IN SCHEMA public TO {}", f"limited_{os.getpid()}")
        found = asked(limited, "no_row_is_hidden_by_row_security")
    assert found.sample == ({"table": "atoms", "row_security": "enabled"},)


@pytest.mark.parametrize("kind", ["DATABASE", "ROLE"])
def test_transactions_that_are_read_only_by_default_are_refused_with_where_that_is_set(
    database: Database, connection: Connection, kind: LiteralString
) -> None:
    name = f"reader_{os.getpid()}"
    with role(connection, name) as reader:
        named = connection.info.dbname if kind == "DATABASE" else name
        run(connection, "ALTER " + kind + " {} SET default_transaction_read_only = on", named)
        found = asked(reader, "database_accepts_writes")
        run(connection, "ALTER " + kind + " {} RESET default_transaction_read_only", named)
        assert asked(reader, "database_accepts_writes").passed
    assert found.sample == ({"reason": "default_transaction_read_only is on", "set_by": f"the {kind.lower()}"},)


def test_tables_in_another_schema_are_refused_and_a_private_schema_before_public_hides_nothing(
    any_database: Database,
) -> None:
    with any_database.connect("test") as connection:
        name = connection.info.dbname
        connection.execute("CREATE SCHEMA private; CREATE TABLE private.topics (id int)")
        run(connection, "ALTER DATABASE {} SET search_path = private, public", name)
        assert asked(any_database, "tables_are_in_public").passed
        assert asked(any_database, "legacy_schema_is_as_expected").passed
        connection.execute("DROP TABLE private.topics; ALTER TABLE topics SET SCHEMA private")
    outcome = asked(any_database, "tables_are_in_public")
    assert outcome.sample == ({"table": "topics", "in_schemas": "private"},)
    assert "public" in outcome.remedy


def test_text_without_an_encoding_that_is_not_utf_8_is_refused_and_its_table_named(server: EmbeddedServer) -> None:
    name = f"ascii_{os.getpid()}"
    with server.admin.connect("test") as admin:
        run(admin, "CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0", name)
        try:
            database = server.database(name)
            with database.connect("test") as connection:
                connection.execute(text_of("legacy/schema"))
                connection.execute("INSERT INTO topics (name, description) VALUES ('caf\u00e9', 'UTF-8')")
                assert asked(database, "text_has_an_encoding").passed
                connection.execute(rb"UPDATE topics SET name = E'caf\xe9 '")
            assert asked(database, "text_has_an_encoding").sample == (
                {"table": "public.topics", "server_encoding": "SQL_ASCII"},
            )
            with database.engine() as engine, engine.connect() as opened:
                assert opened.exec_driver_sql("SELECT description FROM topics").scalar_one() == "UTF-8"
        finally:
            run(admin, "DROP DATABASE {} WITH (FORCE)", name)
