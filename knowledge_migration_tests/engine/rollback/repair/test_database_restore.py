"""The last resort: the backup takes the database's place with what users wrote since, and the old database is kept."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from knowledge_migration.engine.backup.location import BackupFolder
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import (
    BlockedError,
    MigrationError,
    PreconditionError,
    VerificationError,
)
from knowledge_migration.engine.preparation.legacy_snapshot import take_legacy_snapshot
from knowledge_migration.engine.rollback import database_restore, database_swap
from knowledge_migration.engine.rollback.database_restore import (
    RESTORED,
    DatabaseRestore,
    plan_database_restore,
    restore_database,
)
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge.tables import ORIGIN_CONSTRAINTS
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import drop
from knowledge_migration_tests.engine.rollback.repair.conftest import (
    databases_like,
    drop_databases_like,
    values,
)

WRITTEN_SINCE = """
INSERT INTO topics (name, description, icon) VALUES ('new', '', NULL);
INSERT INTO atoms (type, title, content, user_approved, meta, embedding)
VALUES ('insight', 'new', E'a\\nb', false, '{"b":  1}', array_fill(0.5::real, ARRAY[1536])::vector);
INSERT INTO topic_atoms (topic_id, atom_id) SELECT max(topics.id), max(atoms.id) FROM topics, atoms;
INSERT INTO visits VALUES (30001, 'new'), (30001, 'new');
UPDATE labels SET words = 'theirs' WHERE code = 'b';
UPDATE topics SET icon = 'theirs', updated_at = now() WHERE id = 2;
"""
DAMAGE = """
UPDATE atoms SET content = '' WHERE id < 20000;
DELETE FROM atom_links;
"""


@pytest.fixture(autouse=True)
def nothing_stays(server: EmbeddedServer, live: Database) -> Iterator[None]:
    yield
    assert databases_like(server.admin, RESTORED.prefix) == []
    drop_databases_like(server.admin, f"{live.name}_before_restore_")


def restored(database: Database, folder: Path, **options: Any) -> DatabaseRestore:
    return restore_database(
        database, confirm=options.pop("confirm", database.name), directory=folder, reason="a test", **options
    )


def run(database: Database, statements: str) -> None:
    with database.connect("test") as session:
        session.execute(statements)


def read(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect("test") as session:
        return values(session, query)


def kept(server: EmbeddedServer, database: Database) -> list[str]:
    return databases_like(server.admin, f"{database.name}_before_restore_")


def test_the_backup_takes_its_place_with_what_users_wrote_since(any_live: Database, tmp_path: Path) -> None:
    run(any_live, WRITTEN_SINCE + DAMAGE)
    done = restored(any_live, tmp_path)
    assert done.carried == {"topics": 2, "atoms": 1, "topic_atoms": 1, "visits": 2, "labels": 1}
    assert (done.restored, done.brought_back, done.not_carried) == ({"atoms": 3}, {"atom_links": 1}, ())
    assert read(any_live, "SELECT id, content FROM atoms ORDER BY id") == [
        (1, "No space left"), (2, "It helps"), (3, "Later"), (20001, "Same"), (30001, "a\nb"),
    ]  # fmt: skip
    assert read(any_live, "SELECT meta::text, (embedding::real[])[1536] FROM atoms WHERE id = 30001") == [
        ('{"b":  1}', 0.5)
    ]
    assert read(any_live, "SELECT id, icon FROM topics ORDER BY id") == [
        (1, "FolderIcon"), (2, "theirs"), (15000, ""), (30001, None),
    ]  # fmt: skip
    assert read(any_live, "SELECT count(*) FROM visits") == [(6,)]
    assert read(any_live, "SELECT strength FROM atom_links") == [(0.5,)]
    drop_databases_like(any_live.sibling("postgres"), f"{any_live.name}_before_restore_")


def test_the_old_database_is_kept_as_it_was(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    schema.upgrade(live, SchemaChangeSettings())
    run(live, WRITTEN_SINCE + DAMAGE)
    done = restored(live, tmp_path)
    old = live.sibling(done.kept_as)
    assert kept(server, live) == [done.kept_as]
    assert read(old, "SELECT content FROM atoms WHERE id = 1") == [("",)]
    assert read(old, "SELECT to_regclass('topic_proposals') IS NOT NULL") == [(True,)]
    assert read(live, "SELECT to_regclass('topic_proposals') IS NOT NULL") == [(False,)]
    assert (
        f"kept as {done.kept_as}: only it has the proposals, flags and audit entries since the backup" in done.sentence
    )


def test_the_rows_written_since_are_in_a_file_too(live: Database, tmp_path: Path) -> None:
    run(live, WRITTEN_SINCE + DAMAGE)
    done = restored(live, tmp_path / "exports")
    assert done.file
    lines = [json.loads(line) for line in done.file.read_text().splitlines()]
    assert sum(line["copies"] for line in lines) == 10
    assert {line["kind"] for line in lines} == {"added", "written_since", "undated", "altered"}
    assert next(line["row"]["meta"] for line in lines if line["row"].get("title") == "new") == '{"b":  1}'
    assert stat.S_IMODE(done.file.stat().st_mode) == 0o600


def test_sequences_go_on_where_they_were(live: Database, tmp_path: Path) -> None:
    run(live, "SELECT nextval('topics_id_seq') FROM generate_series(1, 7); INSERT INTO counters (topic_id) VALUES (1)")
    restored(live, tmp_path)
    assert read(live, "SELECT nextval('topics_id_seq'), nextval('atoms_id_seq')") == [(30008, 30001)]
    assert read(live, "INSERT INTO counters (topic_id) VALUES (1) RETURNING id") == [(4,)]


def test_it_is_written_down_where_it_will_be_read(live: Database, tmp_path: Path) -> None:
    done = restored(live, tmp_path)
    assert read(live, "SELECT action, subject, reason FROM migration.audit_log") == [
        ("restore of the whole database", live.name, "a test")
    ]
    assert read(live.sibling(done.kept_as), "SELECT action FROM migration.audit_log") == [
        ("restore of the whole database begun",)
    ]
    with live.connect() as session:
        assert evidence.require(session, "database_restore", made_by="the test").content["kept_as"] == done.kept_as


def test_a_second_restore_in_the_same_second_keeps_both_databases(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    done = [restored(live, tmp_path) for _ in range(2)]
    assert [one.carried for one in done] == [{}, {}]
    assert kept(server, live) == sorted(one.kept_as for one in done)


def test_a_row_whose_parent_is_gone_or_whose_name_is_taken_is_named(live: Database, tmp_path: Path) -> None:
    run(
        live,
        "DELETE FROM topic_atoms; UPDATE messages SET topic_id = NULL; DELETE FROM visits; DELETE FROM labels;"
        "DELETE FROM places; DELETE FROM counters; DELETE FROM topics WHERE id = 1;"
        "INSERT INTO topics (id, name, description) VALUES (7, 'Backups', 'again');"
        "INSERT INTO topic_atoms VALUES (now(), now(), 7, 1)",
    )
    done = restored(live, tmp_path)
    assert [(one.table, one.key) for one in done.not_carried] == [("topics", ("7",)), ("topic_atoms", ("7", "1"))]
    assert "ix_topics_name" in done.not_carried[0].reason
    assert "topic_atoms_topic_id_fkey" in done.not_carried[1].reason
    assert read(live, "SELECT id FROM topics ORDER BY id") == [(1,), (2,), (15000,)]
    assert read(live.sibling(done.kept_as), "SELECT description FROM topics WHERE id = 7") == [("again",)]


def test_what_no_dump_holds_is_kept(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    with server.admin.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS reader")
        admin.execute("CREATE ROLE reader")
        name = sql.Identifier(live.name)
        for words in (
            "ALTER DATABASE {} SET search_path = app, public",
            "ALTER DATABASE {} SET work_mem = '7MB'",
            "ALTER ROLE reader IN DATABASE {} SET statement_timeout = '5s'",
            "ALTER DATABASE {} CONNECTION LIMIT 77",
            "COMMENT ON DATABASE {} IS 'it''s ours'",
            "REVOKE ALL ON DATABASE {} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {} TO reader WITH GRANT OPTION",
        ):
            admin.execute(sql.SQL(words).format(name))
    properties = """
    SELECT datacl::text, datconnlimit, shobj_description(oid, 'pg_database'),
           (SELECT array_agg(setrole || ' ' || setconfig::text ORDER BY 1) FROM pg_db_role_setting WHERE setdatabase = oid)
    FROM pg_database WHERE datname = current_database()
    """
    before = read(live, properties)
    done = restored(live, tmp_path)
    assert read(live, properties) == before
    assert read(live, "SHOW work_mem") == [("7MB",)]
    drop(server, live.sibling(done.kept_as))
    drop(server, live)
    with server.admin.connect() as admin:
        admin.execute("DROP ROLE reader")


def test_it_is_refused_while_others_are_connected_naming_them(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    with live.connect("of a user") as user:
        pid = user.info.backend_pid
        with pytest.raises(
            BlockedError, match=rf"connected to {live.name}: knowledge_migration of a user \(pid {pid}, user"
        ):
            restored(live, tmp_path)
        assert plan_database_restore(live).sessions == (f"knowledge_migration of a user (pid {pid}, user postgres)",)
    assert kept(server, live) == []
    assert read(live, "SELECT count(*) FROM migration.audit_log") == [(0,)]


def test_somebody_who_connects_at_the_last_moment_stops_it_and_nothing_is_changed(
    live: Database, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(live, DAMAGE)
    with live.sibling("postgres").connect() as admin:
        user = live.connect("of a user")

        def swap(*words: Any, **options: Any) -> None:
            user.__enter__()
            database_swap.swap(*words, **options)

        monkeypatch.setattr(database_restore, "swap", swap)
        with pytest.raises(BlockedError, match=r"was not renamed: others have connected meanwhile .*of a user"):
            restored(live, tmp_path)
        assert admin.info.dbname == "postgres"
        user.__exit__(None, None, None)
    assert kept(server, live) == []
    assert read(live, "SELECT content FROM atoms WHERE id = 1") == [("",)]


@pytest.mark.parametrize("confirm", ["", "postgres", "TEST"])
def test_without_the_name_typed_exactly_it_is_refused(
    live: Database, server: EmbeddedServer, tmp_path: Path, confirm: str
) -> None:
    with pytest.raises(PreconditionError, match="is not its name"):
        restored(live, tmp_path, confirm=confirm)
    assert kept(server, live) == []


def test_an_altered_file_is_not_restored(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    (content,) = read(live, "SELECT content ->> 'path' FROM migration.evidence WHERE kind = 'verified_backup'")[0]
    dump = tmp_path / Path(content).name
    dump.write_bytes(Path(content).read_bytes() + b"x")
    dump.with_suffix(".json").write_bytes(Path(content).with_suffix(".json").read_bytes())
    with live.connect() as session:
        moved = "UPDATE migration.evidence SET content = content || %s WHERE kind = 'verified_backup'"
        session.execute(moved, [Jsonb({"path": str(dump)})])
    with pytest.raises(VerificationError, match="is not the one that was verified"):
        restored(live, tmp_path)
    assert kept(server, live) == []


def test_a_role_without_the_rights_is_told_which(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    with server.admin.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS modest")
        admin.execute("CREATE ROLE modest LOGIN IN ROLE pg_read_all_data")
    run(live, "GRANT USAGE ON SCHEMA migration TO modest; GRANT ALL ON ALL TABLES IN SCHEMA migration TO modest")
    modest = Database(live.url.replace("postgres@", "modest@").replace("//postgres", "//modest"))
    with pytest.raises(PreconditionError, match=r"Role modest may not restore .* CREATEDB and the rights of its owner"):
        restored(modest, tmp_path)
    drop(server, live)
    with server.admin.connect() as admin:
        admin.execute("DROP ROLE modest")


def test_when_pg_restore_fails_nothing_is_changed(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    run(live, DAMAGE)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("pg_dump", "pg_restore"):
        program = tools / name
        real = server.bin_path / name
        program.write_text(
            f'#!/bin/sh\ncase "$*" in *--version*) exec {real} "$@";; esac\n{real} --list >/dev/null 2>&1\n'
            "echo 'pg_restore: error: could not extend file: No space left on device' >&2\nexit 1\n"
        )
        program.chmod(0o755)
    with pytest.raises(MigrationError, match=r"no disk space to restore .*Nothing was changed"):
        restored(live, tmp_path, tools_dir=tools)
    assert kept(server, live) == []
    assert read(live, "SELECT content FROM atoms WHERE id = 1") == [("",)]


def test_a_table_that_the_application_changed_since_is_not_restored_over(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    run(live, "ALTER TABLE topics ALTER COLUMN icon TYPE text; DROP TABLE visits")
    with pytest.raises(
        VerificationError, match=r"topics\.icon is text and was character varying\(50\).*visits is missing"
    ):
        restored(live, tmp_path)
    assert kept(server, live) == []


CHILD = """
import sys
from pathlib import Path
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.rollback import database_restore

url, folder, where = sys.argv[1:]

def stop(*_, **__):
    print("here", flush=True)
    sys.stdin.readline()

def before(name, module=database_restore):
    real = getattr(module, name)
    def stopping(*words, **options):
        stop()
        return real(*words, **options)
    setattr(module, name, stopping)

if where.startswith("_"):
    before(where, database_restore._Work)
else:
    before(where)
database = Database(url)
database_restore.restore_database(database, confirm=database.name, directory=Path(folder), reason="to be killed")
"""


@pytest.mark.parametrize("where", ["restore_everything", "_carry", "_advance_sequences", "copy_properties", "swap"])
def test_killed_anywhere_nothing_is_lost_and_the_next_run_does_it(
    live: Database, server: EmbeddedServer, tmp_path: Path, where: str
) -> None:
    run(live, WRITTEN_SINCE + DAMAGE)
    where = where if where != "_advance_sequences" else "_refuse_differences"
    before = read(live, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atom_links)")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, live.url, str(tmp_path), where],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout
    assert child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert kept(server, live) == []
    assert len(drop_databases_like(server.admin, RESTORED.prefix)) == 1
    assert read(live, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atom_links)") == before
    done = restored(live, tmp_path)
    assert done.carried == {"topics": 2, "atoms": 1, "topic_atoms": 1, "visits": 2, "labels": 1}
    assert read(live, "SELECT (SELECT count(*) FROM topics), (SELECT count(*) FROM atom_links)") == [(4, 1)]


def test_the_database_of_a_killed_run_is_dropped_by_the_next(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    old = f"{RESTORED.prefix}5000000012345678"
    with server.admin.connect() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(old)))
    said: list[str] = []
    restored(live, tmp_path, progress=said.append)
    assert any(old in line for line in said)


def test_a_table_without_any_reference_is_carried_over_too(live: Database, tmp_path: Path) -> None:
    run(live, "INSERT INTO apart VALUES (3, 'three'); UPDATE apart SET words = 'theirs' WHERE id = 1;")
    run(live, "DELETE FROM apart WHERE id = 2")
    done = restored(live, tmp_path)
    assert read(live, "SELECT id, words FROM apart ORDER BY id") == [(1, "theirs"), (2, "two"), (3, "three")]
    assert (done.carried, done.brought_back) == ({"apart": 2}, {"apart": 1})


def backed_up_again(live: Database, server: EmbeddedServer, folder: Path) -> None:
    """The database as it is now is what a restore brings back."""
    take_legacy_snapshot(
        live, folder=BackupFolder(folder), scratch=server.admin, tools_directory=None, range_ids=10_000, progress=print
    )


def test_no_trigger_of_the_restored_database_fires_for_a_row_that_is_carried_over(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    run(
        live,
        "CREATE TABLE history (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic_id bigint);"
        "CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END';"
        "CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO history (topic_id) VALUES (NEW.id); RETURN NULL; END';"
        "CREATE TRIGGER touched BEFORE UPDATE ON topics FOR EACH ROW EXECUTE FUNCTION touched();"
        "CREATE TRIGGER logged AFTER INSERT ON topics FOR EACH ROW EXECUTE FUNCTION logged();"
        "ALTER TABLE topics ENABLE ALWAYS TRIGGER logged",
    )
    backed_up_again(live, server, tmp_path / "later")
    run(live, WRITTEN_SINCE)
    states = "SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgname IN ('logged', 'touched') ORDER BY 1"
    before = [read(live, query) for query in ("SELECT * FROM topics ORDER BY id", "SELECT * FROM history", states)]
    done = restored(live, tmp_path)
    assert done.not_carried == ()
    assert before == [
        read(live, query) for query in ("SELECT * FROM topics ORDER BY id", "SELECT * FROM history", states)
    ]
    assert before[2] == [("logged", "A"), ("touched", "O")]


def test_rows_written_after_a_backup_of_phase_5_are_carried_over_without_their_proposals(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    schema.upgrade(live, SchemaChangeSettings())
    for table, constraint in ORIGIN_CONSTRAINTS.items():
        run(
            live,
            f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK (migrated_from_proposal_id IS NOT NULL) NOT VALID",
        )
    backed_up_again(live, server, tmp_path / "later")
    for table, constraint in ORIGIN_CONSTRAINTS.items():
        run(live, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    run(live, WRITTEN_SINCE)
    done = restored(live, tmp_path)
    assert done.not_carried == ()
    assert read(live, "SELECT count(*) FROM topics WHERE name = 'new'") == [(1,)]


def test_rows_of_a_table_that_is_not_logged_are_carried_over(
    live: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    run(live, "CREATE UNLOGGED TABLE queue (id integer PRIMARY KEY)")
    backed_up_again(live, server, tmp_path / "later")
    run(live, "INSERT INTO queue VALUES (1)")
    assert restored(live, tmp_path).carried == {"queue": 1}
    assert read(live, "SELECT id FROM queue") == [(1,)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("CREATE TABLE later (id integer)", "later is new"),
        ("ALTER TABLE apart ADD COLUMN more text", r"apart\.more is new"),
    ],
)
def test_what_the_application_has_added_since_is_not_left_behind(
    live: Database, server: EmbeddedServer, tmp_path: Path, change: str, words: str
) -> None:
    run(live, change)
    with pytest.raises(VerificationError, match=words):
        restored(live, tmp_path)
    assert kept(server, live) == []
