"""`knowledge-migration doctor`: what is installed, reachable and granted, one line each. Reads only."""

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import psycopg

from knowledge_migration.commands.terminal import AsJson, open_installation, show_rows
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.explanation import explained
from knowledge_migration.installation import Installation

COLOURS = {"ok": "green", "missing": "red"}
Line = Mapping[str, Any]


def doctor(as_json: AsJson = False) -> None:
    """Examine the installation: programs, servers, encryption, extensions, rights. Exit code 1 if something is missing.

    Example: knowledge-migration doctor
    """
    installation = open_installation()
    lines = [*_programs(), *_servers(installation), *_database(installation)]
    show_rows(lines, as_json, none="", styles=COLOURS)
    if any(line["state"] == "missing" for line in lines):
        raise SystemExit(1)


def _line(what: str, state: bool, message: str) -> Line:
    return {"what": what, "state": "ok" if state else "missing", "message": message}


def _tried(what: str, read: Callable[[], str]) -> Line:
    """What can be read is present; an error is the reason why not."""
    try:
        return _line(what, True, read())
    except MigrationError as error:
        return _line(what, False, str(error))
    except (psycopg.Error, OSError) as error:
        return _line(what, False, explained(error))


def _programs() -> Iterator[Line]:
    installed = ", ".join(f"{name} {version(name)}" for name in ("dagster", "psycopg", "great-expectations"))
    python = ".".join(map(str, sys.version_info[:3]))
    yield _line("program", True, f"knowledge-migration {version('knowledge_migration')}, Python {python}, {installed}")


def _servers(installation: Installation) -> Iterator[Line]:
    """The servers beside the database: of Dagster's storage, and of the scratch databases."""
    for what, name in (("storage of Dagster", "dagster_storage"), ("scratch server", "scratch")):

        def read(name: str = name) -> str:
            database = getattr(installation, name)
            with database.connect("doctor") as connection:
                return f"{database.display}, PostgreSQL {connection.info.parameter_status('server_version')}"

        yield _tried(what, read)


def _database(installation: Installation) -> Iterator[Line]:
    """The database (a pooler before it is refused), its encryption and tools, and every check of preflight."""
    from knowledge_migration.engine.preparation.preflight import CHECKS

    def server(connection: Connection) -> str:
        number = connection.info.parameter_status("server_version")
        return f"{installation.database.display}, PostgreSQL {number}, {_encryption(connection)}"

    try:
        with installation.preflight() as context:
            yield _line("database", True, server(context.connection))
            yield _line("sessions", True, "each session is one of the server; there is no pooler in transaction mode")
            yield _tried("pg_dump and pg_restore", lambda: _tools(installation, context.connection))
            for name, check in CHECKS.items():
                outcome = check(context)
                message = [outcome.description] if outcome.passed else [outcome.sentence, *map(_listed, outcome.sample)]
                yield _line(name.replace("_", " "), outcome.passed, "\n".join(message))
    except MigrationError as error:
        yield _line("database", False, str(error))
    except (psycopg.Error, OSError) as error:
        yield _line("database", False, explained(error))


def _listed(row: Mapping[str, Any]) -> str:
    return "- " + ", ".join(f"{name}: {value}" for name, value in row.items() if value)


def _tools(installation: Installation, connection: Connection) -> str:
    from knowledge_migration.engine.backup.dump import tools_of

    tools = tools_of(connection, installation.settings.installation.pg_bin)
    return f"{tools.version} in {tools.folder}"


def _encryption(connection: Connection) -> str:
    if connection.pgconn.ssl_in_use:
        return "encrypted with TLS"
    local = connection.info.host.startswith("/") or connection.info.hostaddr in ("127.0.0.1", "::1")
    return "not encrypted, on this machine" if local else "NOT encrypted: add sslmode=verify-full to the address"
