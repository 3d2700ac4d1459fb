"""The requirements before anything is done to a database (strategy §2): one check each, with its remedy.

Reads only, but for a probe that is rolled back. A check that cannot read its data (a missing privilege on the catalog) raises.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from knowledge_migration.engine.foundation.catalog import legacy_differences
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database, UnreachableError, exists
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.own_objects import current_revision, foreign_objects
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.tables import legacy

OLDEST_SERVER = 140_000
BYTES_PER_GIB = 2**30


def free_bytes(directory: Path) -> int:
    """Bytes free on the disk of the directory, which may not exist yet."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


@dataclass(frozen=True)
class PreflightContext:
    """The database, the scratch server (its maintenance database), the directory of backups, and the limits of the checks."""

    database: Database
    connection: Connection
    backup_directory: Path
    scratch: Database
    long_transaction_seconds: float
    subscribers_ready: bool = False
    free_bytes: Callable[[Path], int] = free_bytes

    def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        """The rows of a query of this phase."""
        return self.connection.execute(text_of(f"preparation/{query}"), parameters).fetchall()


def _server_version(context: PreflightContext) -> CheckOutcome:
    """The server is PostgreSQL 14 or later."""
    version = context.connection.info.server_version
    return _outcome(
        "server_version_is_supported",
        "The server is PostgreSQL 14 or later.",
        "Upgrade the server first: the checksums and SQL of the migration need 14.",
        [] if version >= OLDEST_SERVER else [{"server_version_num": version}],
        server_version=context.connection.info.parameter_status("server_version"),
    )


def _writable(context: PreflightContext) -> CheckOutcome:
    """The server accepts writes of this role."""
    return _outcome(
        "database_accepts_writes",
        "The server is no standby, and transactions of this role are not read-only by default.",
        "Name the primary in KNOWLEDGE_MIGRATION_DATABASE_URL; or ALTER ROLE … RESET default_transaction_read_only (ALTER "
        "DATABASE or ALTER SYSTEM, where it is set there).",
        context.rows("preflight_writable"),
    )


def _on_tables(name: str, query: str, description: str, remedy: str) -> Callable[[PreflightContext], CheckOutcome]:
    """A check of properties of the application's tables that the migration does not support."""

    def check(context: PreflightContext) -> CheckOutcome:
        tables = [f"public.{table}" for table in legacy.tables if exists(context.connection, f"public.{table}")]
        return _outcome(name, description, remedy, context.rows(query, tables=tables))

    return check


def _rights(context: PreflightContext) -> CheckOutcome:
    """The role has every privilege that a step of a phase needs, here and on the scratch server."""
    table = [*context.rows("preflight_rights"), *_scratch_rights(context)]
    columns = ("step", "needed", "observed", "remedy")
    return _outcome(
        "rights_are_sufficient",
        "The role has every privilege that the migration needs.",
        "Let an authorized role run each statement listed here, or connect as the owner of the tables. Instead of rights for "
        "scratch databases, KNOWLEDGE_MIGRATION_SCRATCH_URL can name another server where the role has them.",
        [{name: row[name] for name in columns if row[name]} for row in table if not row["met"]],
        rights=[{name: row[name] for name in columns} for row in table],
    )


def _scratch_rights(context: PreflightContext) -> list[dict[str, Any]]:
    """What the scratch server lacks or has, before a dump of hours is made for it."""
    extensions = [row["name"] for row in context.rows("preflight_installed_extensions")]
    major = context.connection.info.server_version // 10_000
    try:
        with context.scratch.connect("preflight") as scratch:
            query = text_of("preparation/preflight_scratch")
            rows = scratch.execute(query, {"extensions": extensions, "major": major}).fetchall()
    except UnreachableError as error:
        rows = [{"needed": "a connection", "observed": str(error), "remedy": "", "met": False}]
    step = f"0 backup and rehearsal: scratch databases on {context.scratch.display}"
    elsewhere = "KNOWLEDGE_MIGRATION_SCRATCH_URL of a server that has it"
    return [{"step": step, **row, "remedy": row["remedy"] or ("" if row["met"] else elsewhere)} for row in rows]


def _extensions(context: PreflightContext) -> CheckOutcome:
    """The extensions that the legacy schema uses are installed."""
    return _outcome(
        "extensions_are_installed",
        "The extensions that the legacy schema uses are installed.",
        "Run CREATE EXTENSION vector (pgvector) as an authorized role.",
        context.rows("preflight_extensions"),
    )


def _schemas(context: PreflightContext) -> CheckOutcome:
    """The tables of the application are in schema public."""
    return _outcome(
        "tables_are_in_public",
        "The tables of the application are in schema public.",
        "This version migrates tables in schema public only: ALTER TABLE … SET SCHEMA public, and add public to the search_path "
        "of the application.",
        context.rows("preflight_other_schemas", tables=list(legacy.tables)),
    )


def _legacy_schema(context: PreflightContext) -> CheckOutcome:
    """Tables, columns, types and keys are those of the legacy schema; harmless differences are listed."""
    differences = legacy_differences(context.database)
    return _outcome(
        "legacy_schema_is_as_expected",
        "The database has the legacy schema that this migration supports.",
        "Check that KNOWLEDGE_MIGRATION_DATABASE_URL names the right database; otherwise change these objects as expected.",
        [vars(difference) for difference in differences if not difference.tolerated],
        tolerated_differences=[vars(difference) for difference in differences if difference.tolerated],
    )


def _text(context: PreflightContext) -> CheckOutcome:
    """A database of encoding SQL_ASCII, which stores any bytes, holds UTF-8; the tables are read only then."""
    encoding = context.connection.info.parameter_status("server_encoding")
    unreadable = []
    for table in legacy.tables if encoding == "SQL_ASCII" else ():
        if exists(context.connection, f"public.{table}"):
            query = statement("preparation/preflight_text", table=sql.Identifier("public", table))
            try:
                context.connection.execute(query)
            except psycopg.errors.CharacterNotInRepertoire:
                unreadable.append({"table": f"public.{table}", "server_encoding": encoding})
    return _outcome(
        "text_has_an_encoding",
        "Text that the server stores without an encoding (SQL_ASCII) is UTF-8.",
        "Convert the rows (convert_from(convert_to(name, 'SQL_ASCII'), 'LATIN1') where they are LATIN1), or restore a dump into "
        "a database created with ENCODING 'UTF8'.",
        unreadable,
        server_encoding=encoding,
    )


def _long_transactions(context: PreflightContext) -> CheckOutcome:
    """No transaction is so old that schema changes and index builds would wait for it."""
    return _outcome(
        "no_transaction_is_long",
        f"No transaction is older than {context.long_transaction_seconds:g} s, and none is prepared.",
        "End it (or COMMIT/ROLLBACK PREPARED): schema changes and index builds wait for it. Where the state is not "
        "visible, GRANT pg_read_all_stats to this role first.",
        context.rows("preflight_transactions", age_seconds=context.long_transaction_seconds),
    )


def _disk(context: PreflightContext) -> CheckOutcome:
    """The disk has room for the backup."""
    free, needed = context.free_bytes(context.backup_directory), int(context.rows("preflight_size")[0]["bytes"])
    missing = [] if free >= needed else [{"free_gib": free / BYTES_PER_GIB, "needed_gib": needed / BYTES_PER_GIB}]
    return _outcome(
        "disk_holds_the_backup",
        f"The disk of {context.backup_directory} has room for a dump as large as the database.",
        "Free space there, or set KNOWLEDGE_MIGRATION_HOME to a larger disk. The restore needs as much on the server.",
        missing,
        free_bytes=free,
        needed_bytes=needed,
    )


def _names(context: PreflightContext) -> CheckOutcome:
    """No object of somebody else uses a name of the migration."""
    return _outcome(
        "names_are_free",
        "No object of somebody else uses a name of the migration.",
        "Rename or remove these objects: this migration has not created them, so it neither adopts nor drops them.",
        foreign_objects(context.connection),
        recorded_revision=current_revision(context.connection) or "none",
    )


def _event_triggers(context: PreflightContext) -> CheckOutcome:
    """No event trigger refuses statements like those of phase 1; they are tried, and rolled back, only where there is one."""
    triggers = context.rows("preflight_event_triggers")
    refused = []
    if triggers:
        try:
            with context.connection.transaction(force_rollback=True):
                context.connection.execute(text_of("preparation/preflight_ddl_probe"))
        except psycopg.Error as error:
            names = ", ".join(row["event_trigger"] for row in triggers)
            refused = [{"event_triggers": names, "says": reason_of(error)}]
    return _outcome(
        "event_triggers_allow_schema_changes",
        "Event triggers, if there are any, allow schema changes to this role.",
        "Do what the event trigger asks for (settings can be given as options in the address), or ALTER EVENT TRIGGER … DISABLE "
        "during phases 1 and 5 and the rollback of the schema.",
        refused,
        event_triggers=len(triggers),
    )


def _subscribers(context: PreflightContext) -> CheckOutcome:
    """Nothing replicates the rows of topics and atoms elsewhere, or the operator confirms that the columns are there."""
    tables = [f"public.{kind.table}" for kind in KINDS if exists(context.connection, f"public.{kind.table}")]
    rows = context.rows("preflight_subscribers", tables=tables)
    return _outcome(
        "subscribers_have_the_new_columns",
        "Every subscriber of topics and atoms has the columns that phase 1 adds: replication stops at the first row otherwise.",
        "On each subscriber, before phase 1, for topics and for atoms: ALTER TABLE … ADD COLUMN migrated_from_proposal_id "
        "uuid, ADD COLUMN migration_timestamp timestamptz. A publication of all tables, or of schema public, also sends the new "
        "tables: ALTER SUBSCRIPTION … DISABLE before phase 1, create them there afterwards (pg_dump --schema-only), then ENABLE. "
        "Consumers of other slots must accept two more columns. Then set KNOWLEDGE_MIGRATION_SUBSCRIBERS_READY=true. A "
        "publication with a column list is not affected.",
        [] if context.subscribers_ready else rows,
        replicated=len(rows),
    )


CHECKS: dict[str, Callable[[PreflightContext], CheckOutcome]] = {
    "server_version_is_supported": _server_version,
    "rights_are_sufficient": _rights,
    "extensions_are_installed": _extensions,
    "tables_are_in_public": _schemas,
    "legacy_schema_is_as_expected": _legacy_schema,
    "text_has_an_encoding": _text,
    "database_accepts_writes": _writable,
    "no_transaction_is_long": _long_transactions,
    "disk_holds_the_backup": _disk,
    "names_are_free": _names,
    "no_row_is_hidden_by_row_security": _on_tables(
        "no_row_is_hidden_by_row_security",
        "preflight_row_security",
        "No table of the application has row security that applies to this role.",
        "ALTER ROLE … BYPASSRLS for the migrating role; otherwise rows that it does not see would be left behind.",
    ),
    "no_rule_rewrites_writes": _on_tables(
        "no_rule_rewrites_writes",
        "preflight_rules",
        "No rule of a table of the application rewrites or suppresses a write.",
        "Replace each rule by a trigger, or ALTER TABLE … DISABLE RULE during the migration.",
    ),
    "no_table_inherits": _on_tables(
        "no_table_inherits",
        "preflight_inheritance",
        "No table of the application inherits from another table, or is inherited.",
        "ALTER TABLE … NO INHERIT: rows of a child would be counted in both tables.",
    ),
    "updates_can_be_replicated": _on_tables(
        "updates_can_be_replicated",
        "preflight_replica_identity",
        "Every table of the application that publishes updates has a replica identity.",
        "ALTER TABLE … REPLICA IDENTITY DEFAULT: the server refuses every update of these tables now.",
    ),
    "event_triggers_allow_schema_changes": _event_triggers,
    "subscribers_have_the_new_columns": _subscribers,
}


def preflight(context: PreflightContext) -> list[CheckOutcome]:
    """All checks, in dependency order."""
    return [check(context) for check in CHECKS.values()]


def require_preflight(context: PreflightContext) -> None:
    """Raises `PreconditionError` naming each failed check and its remedy: a phase never relies on an earlier run."""
    failed = [outcome for outcome in preflight(context) if not outcome.passed]
    if failed:
        raise PreconditionError(
            " ".join(f"{outcome.name}: {outcome.sentence} {outcome.sample[0]}" for outcome in failed)
        )


def _outcome(name: str, description: str, remedy: str, rows: list[dict[str, Any]], **numbers: Any) -> CheckOutcome:
    return CheckOutcome(name, len(rows), tuple(rows), description, remedy, numbers)
