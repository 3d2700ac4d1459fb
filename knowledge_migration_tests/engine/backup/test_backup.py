"""A backup is what restored and came out equal; nothing else is ever called one."""

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from knowledge_migration.engine.backup import pg_tools
from knowledge_migration.engine.backup.dump import PartialBackup, dump, tools_for
from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.backup.location import sha256
from knowledge_migration.engine.backup.pg_tools import PgTools
from knowledge_migration.engine.backup.scratch import NAME_PREFIX, scratch_database
from knowledge_migration.engine.backup.verification import verified_backup, verify
from knowledge_migration.engine.foundation import fingerprint, inventory
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError, VerificationError
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration_tests.engine.backup.legacy_rows import fill

A_LONG_DEAD_NAME = f"{NAME_PREFIX}5000000012345678"


@pytest.fixture
def filled(connection: Connection) -> Connection:
    fill(connection)
    return connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "backups"


@pytest.fixture(autouse=True)
def no_scratch_database_stays(server: EmbeddedServer) -> Iterator[None]:
    yield
    assert scratch_databases(server.admin) == []


def scratch_databases(server: Database) -> list[str]:
    with server.connect() as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [NAME_PREFIX])
        return [row["datname"] for row in found]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dumped(database: Database, folder: Path) -> PartialBackup:
    with exported_snapshot(database) as snapshot:
        found = fingerprint.take(snapshot.connection)
        return dump(database, snapshot, found, directory=folder, tools=tools_for(snapshot))


def flip_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    path.write_bytes(content)


def test_a_backup_is_restored_compared_and_described(
    any_database: Database, any_server: EmbeddedServer, folder: Path
) -> None:
    with any_database.connect() as connection:
        fill(connection)
        said: list[str] = []
        made = verified_backup(any_database, directory=folder, scratch=any_server.admin, progress=said.append)
        assert made.tables == inventory.read(connection).rows
    manifest = json.loads(made.manifest.read_text())
    assert files(folder) == [made.path.name, made.manifest.name]
    assert (manifest["sha256"], manifest["bytes"], manifest["tables"]) == (
        made.sha256,
        made.path.stat().st_size,
        made.tables,
    )
    assert manifest["tool_version"].split(".")[0] == manifest["server_version"].split(".")[0]
    assert verify_file(made.to_evidence()) == made.path
    assert any("restoring into" in line for line in said)
    assert scratch_databases(any_server.admin) == []
    assert json.loads(json.dumps(made.to_evidence()))["path"] == str(made.path)


def test_only_the_owner_may_read_it(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    made = verified_backup(database, directory=folder, scratch=server.admin)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made.path, made.manifest, folder)] == [0o600, 0o600, 0o700]


def test_two_backups_of_the_same_moment_have_two_names(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    made = [verified_backup(database, directory=folder, scratch=server.admin, clock=lambda: moment) for _ in range(2)]
    assert made[0].path != made[1].path
    assert made[0].path.name.startswith(f"{database.name}_20260102T030405_000006Z_")


def test_what_is_written_after_the_snapshot_is_in_neither_dump_nor_fingerprint(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    with exported_snapshot(database) as snapshot:
        before = fingerprint.take(snapshot.connection)
        filled.execute("UPDATE topics SET name = 'later' WHERE id = 1")
        filled.execute("INSERT INTO topics (id, name, description) VALUES (3, 'new', '')")
        partial = dump(database, snapshot, before, directory=folder, tools=tools_for(snapshot))
    filled.execute("DELETE FROM atom_links")
    made = verify(partial, scratch=server.admin)
    assert (made.tables["topics"], made.tables["atom_links"]) == (3, 1)
    assert len(fingerprint.differences(before, fingerprint.take(filled, like=before))) == 2


def test_the_whole_database_is_in_it(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    filled.execute(
        "CREATE SCHEMA app; CREATE TABLE app.unrelated (word text); INSERT INTO app.unrelated VALUES ('here')"
    )
    made = verified_backup(database, directory=folder, scratch=server.admin)
    tools = PgTools.find(filled.info.server_version)
    with server.admin.connect() as admin:
        admin.execute("CREATE DATABASE restored_by_hand TEMPLATE template0")
    try:
        restored = server.database("restored_by_hand")
        command = [tools.pg_restore, "--exit-on-error", "-d", restored.conninfo, made.path]
        assert pg_tools.run(command, {}).returncode == 0
        with restored.connect() as connection:
            assert connection.execute("SELECT word FROM app.unrelated").fetchone() == {"word": "here"}
    finally:
        with server.admin.connect() as admin:
            admin.execute("DROP DATABASE restored_by_hand WITH (FORCE)")


def test_what_needs_roles_or_reaches_outside_does_not_stop_the_verification(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    filled.execute("CREATE ROLE only_here LOGIN; GRANT SELECT ON topics TO only_here")
    filled.execute("CREATE POLICY for_them ON topics TO only_here USING (true); ALTER TABLE users OWNER TO only_here")
    filled.execute("CREATE PUBLICATION stream FOR TABLE topics; COMMENT ON TABLE topics IS 'theirs'")
    filled.execute("CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'")
    filled.execute("CREATE EVENT TRIGGER guard ON ddl_command_start EXECUTE FUNCTION refuse()")
    try:
        assert verified_backup(database, directory=folder, scratch=server.admin).tables["topics"] == 3
    finally:
        filled.execute("DROP EVENT TRIGGER guard")
        filled.execute("REASSIGN OWNED BY only_here TO postgres; DROP OWNED BY only_here; DROP ROLE only_here")


def test_an_older_database_is_verified_on_a_newer_server(
    server: EmbeddedServer, server_16: EmbeddedServer, folder: Path
) -> None:
    source = server_16.ensure_database("for_a_newer_server")
    with source.connect() as connection:
        connection.execute(text_of("legacy/schema"))
        fill(connection)
    assert verified_backup(source, directory=folder, scratch=server.admin).tables["atoms"] == 4


def test_a_scratch_server_that_is_older_is_refused(
    database: Database, server_16: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    with pytest.raises(PreconditionError, match=r"is PostgreSQL 16, older than the 18 .*SCRATCH_URL"):
        verified_backup(database, directory=folder, scratch=server_16.admin)
    assert files(folder) == []


def test_a_user_without_createdb_is_told_what_to_grant(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    filled.execute("CREATE ROLE no_createdb LOGIN; GRANT pg_read_all_data TO no_createdb")
    try:
        scratch = Database(server.admin.url.replace("postgres@", "no_createdb@"))
        with pytest.raises(PreconditionError, match=r'ALTER ROLE "no_createdb" CREATEDB .*KNOWLEDGE_MIGRATION_SCRATCH'):
            verified_backup(database, directory=folder, scratch=scratch)
        assert files(folder) == []
    finally:
        filled.execute("DROP OWNED BY no_createdb; DROP ROLE no_createdb")


def test_a_role_with_createdb_verifies_what_it_may_restore_and_names_what_it_may_not(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    filled.execute("CREATE ROLE with_createdb LOGIN CREATEDB; GRANT pg_read_all_data TO with_createdb")
    source, scratch = (
        Database(address.url.replace("postgres@", "with_createdb@")) for address in (database, server.admin)
    )
    try:
        with pytest.raises(PreconditionError, match=r'permission denied to create extension "vector".*superuser'):
            verified_backup(source, directory=folder, scratch=scratch)
        filled.execute("DROP EXTENSION vector CASCADE")
        assert verified_backup(source, directory=folder, scratch=scratch).tables["atoms"] == 4
    finally:
        filled.execute("DROP OWNED BY with_createdb; DROP ROLE with_createdb")


def test_a_dump_that_is_altered_on_the_disk_is_refused_and_removed(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    partial = dumped(database, folder)
    flip_bytes(partial.file.path)
    with pytest.raises(VerificationError, match=r"changed on the disk after it was written .*corrupted"):
        verify(partial, scratch=server.admin)
    assert files(folder) == []


def test_a_dump_that_was_corrupt_from_the_start_does_not_restore_and_is_removed(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    partial = dumped(database, folder)
    flip_bytes(partial.file.path)
    partial = replace(partial, sha256=sha256(partial.file.path))
    with pytest.raises(VerificationError, match=r"is corrupted|does not restore|differs from the database"):
        verify(partial, scratch=server.admin)
    assert files(folder) == []


def test_a_dump_cut_short_is_refused(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    partial = dumped(database, folder)
    with partial.file.path.open("r+b") as file:
        file.truncate(200)
    partial = replace(partial, sha256=sha256(partial.file.path))
    with pytest.raises(VerificationError):
        verify(partial, scratch=server.admin)
    assert files(folder) == []


def test_a_dump_that_restores_to_other_values_is_refused_with_table_and_range(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    with exported_snapshot(database) as snapshot:
        filled.execute("UPDATE topics SET description = 'other' WHERE id = 15000")
        other = fingerprint.take(filled)
        partial = dump(database, snapshot, other, directory=folder, tools=tools_for(snapshot))
    with pytest.raises(VerificationError, match=r"differs from the database in 1 places: topics 10000\.\.19999"):
        verify(partial, scratch=server.admin)
    assert files(folder) == []


def test_a_dump_without_a_table_of_the_fingerprint_is_refused(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    with exported_snapshot(database) as snapshot:
        found = fingerprint.take(snapshot.connection)
        tables = {**found.tables, "lost": replace(found.tables["topics"], name="lost")}
        with pytest.raises(VerificationError, match="does not contain lost"):
            dump(
                database,
                snapshot,
                replace(found, tables=tables),
                directory=folder,
                tools=tools_for(snapshot),
            )
    assert files(folder) == []


def test_a_snapshot_that_is_gone_is_an_error_and_leaves_nothing(
    database: Database, folder: Path, filled: Connection
) -> None:
    with exported_snapshot(database) as snapshot:
        found = fingerprint.take(snapshot.connection)
        ended = replace(snapshot, snapshot_id="00000000-00000000-1")
        with pytest.raises(MigrationError, match=r"pg_dump 18.* failed with exit code 1: .*snapshot"):
            dump(database, ended, found, directory=folder, tools=tools_for(snapshot))
    assert files(folder) == []


def test_the_scratch_database_of_a_killed_run_is_dropped_and_a_living_one_kept(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    young = f"{NAME_PREFIX}{int(datetime.now(UTC).timestamp()):08x}12345678"
    living = f"{NAME_PREFIX}5000000087654321"
    unlike = f"{NAME_PREFIX}of_somebody"
    with server.admin.connect() as admin:
        for name in (A_LONG_DEAD_NAME, young, living, unlike):
            admin.execute(f"CREATE DATABASE {name}")
        try:
            with server.database(living).connect():
                verified_backup(database, directory=folder, scratch=server.admin)
                assert set(scratch_databases(server.admin)) == {young, living, unlike}
        finally:
            for name in (A_LONG_DEAD_NAME, young, living, unlike):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_a_running_verification_is_not_taken_for_a_leftover(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    partial = dumped(database, folder)
    with scratch_database(server.admin, partial.origin, print) as running:
        verified_backup(database, directory=folder, scratch=server.admin)
        assert running.connection.execute("SELECT 1 AS alive").fetchone() == {"alive": 1}
    assert len(files(folder)) == 3, "the backup, its manifest, and the partial file that is held"
    partial.discard()


def test_an_altered_backup_is_found_by_its_checksum(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    made = verified_backup(database, directory=folder, scratch=server.admin)
    flip_bytes(made.path)
    with pytest.raises(VerificationError, match="is not the one that was verified"):
        verify_file(made.to_evidence())
    made.path.unlink()
    with pytest.raises(VerificationError, match=r"\.dump is missing"):
        verify_file(made.to_evidence())


def test_the_evidence_decides_and_not_the_manifest_beside_the_file(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    made = verified_backup(database, directory=folder, scratch=server.admin)
    filled.execute("DELETE FROM topic_atoms; UPDATE topics SET name = 'foreign ' || id")
    foreign = verified_backup(database, directory=folder, scratch=server.admin)
    genuine = made.manifest.read_text()

    foreign.path.replace(made.path)  # with a manifest that matches it
    foreign.manifest.replace(made.manifest)
    with pytest.raises(VerificationError, match="is not the one that was verified"):
        verify_file(made.to_evidence())

    again = verified_backup(database, directory=folder, scratch=server.admin)
    described = json.loads(again.manifest.read_text())
    again.manifest.write_text(json.dumps({**described, "origin": "7/16384"}))
    with pytest.raises(VerificationError, match=r"contradicts the evidence in the database \(origin\)"):
        verify_file(again.to_evidence())
    assert json.loads(genuine)["origin"] == described["origin"] != "7/16384"


def test_a_file_without_its_manifest_is_no_backup(
    database: Database, server: EmbeddedServer, folder: Path, filled: Connection
) -> None:
    made = verified_backup(database, directory=folder, scratch=server.admin)
    for damaged in ("{", "null", "[1]"):
        made.manifest.write_text(damaged)
        with pytest.raises(VerificationError, match="is damaged"):
            verify_file(made.to_evidence())
    made.manifest.unlink()
    with pytest.raises(VerificationError, match=r"\.json is missing"):
        verify_file(made.to_evidence())


def test_an_address_that_cannot_be_reached_says_so(server: EmbeddedServer, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="Cannot connect to"):
        verified_backup(server.database("not_there"), directory=tmp_path, scratch=server.admin)
