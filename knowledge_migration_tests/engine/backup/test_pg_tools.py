"""The tools are those that fit the server, and what they are told is all in their environment."""

from pathlib import Path

import pytest

from knowledge_migration.engine.backup import pg_tools
from knowledge_migration.engine.backup.pg_tools import PgTools, address_argument, environment
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError


def a_folder_with_tools(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


@pytest.mark.parametrize(("server", "major"), [(160004, 16), (170001, 18), (180001, 18)])
def test_the_oldest_tools_that_are_not_older_than_the_server_are_taken(server: int, major: int) -> None:
    tools = PgTools.find(server)
    assert tools.major >= server // 10000
    assert tools.major <= major


def test_a_server_newer_than_all_tools_is_told_what_to_install() -> None:
    with pytest.raises(
        PreconditionError, match=r"version 99 or later .*Install postgresql-client-99, or set KNOWLEDGE"
    ):
        PgTools.find(990000)


def test_the_embedded_tools_never_stand_in_for_an_encrypted_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_tools, "SYSTEM_FOLDERS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert PgTools.find(160000).major == 16
    with pytest.raises(PreconditionError, match=r"version 16 or later for this TLS connection \(found: none\)"):
        PgTools.find(160000, encrypted=True)


def test_a_named_folder_is_taken_and_refused_when_it_does_not_fit(tmp_path: Path) -> None:
    folder = a_folder_with_tools(tmp_path / "bin", "17.2 (Debian 17.2-1)")
    assert PgTools.find(150000, folder).version == "17.2"
    with pytest.raises(PreconditionError, match=r"holds pg_dump 17\.2, which refuses a server of version 18"):
        PgTools.find(180000, folder)
    with pytest.raises(PreconditionError, match="pg_dump and pg_restore of one version do not run there"):
        PgTools.find(150000, tmp_path)


def test_the_address_travels_in_the_environment_and_the_rest_without_secrets() -> None:
    database = Database(
        "postgresql://mover:p%40ss%3A%2F@db.example:5433/app?sslmode=require&keepalives=0&sslpassword=key&options=-cx%3Dy"
    )
    told = environment(database, session_options="-c synchronous_commit=off", host="db-2.example")
    assert {name: told[name] for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE")} == {
        "PGHOST": "db-2.example",
        "PGPORT": "5433",
        "PGUSER": "mover",
        "PGPASSWORD": "p@ss:/",
        "PGDATABASE": "app",
        "PGSSLMODE": "require",
    }
    assert told["PGOPTIONS"] == "-cx=y -c synchronous_commit=off"
    assert address_argument(database) == "dbname=app keepalives=0"
