"""A clone with a part of the rows: the schema of the verified backup, and rows of production that belong together.

Each larger table is read once, as a backup reads it, and keeps the rows whose hash is small. The hash is that of the reference to
the largest table, else of the primary key, so that children are kept with their parents; rows without their parent are deleted
before the constraints are created.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from knowledge_migration.engine.backup.dump import contents_of, tools_of
from knowledge_migration.engine.backup.location import local_copy
from knowledge_migration.engine.backup.pg_tools import restore_rows
from knowledge_migration.engine.backup.scratch import origin_of, scratch_database
from knowledge_migration.engine.foundation import inventory
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.inventory import InventoriedTable
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rollback.database_restore import advance_sequences
from knowledge_migration.engine.rollback.repair.backup_copy import COMPARISON, proven_backup, refuse_failure
from knowledge_migration.engine.rollback.repair.tables import ComparedTable, described

SCALE = 2**20
ALL = 1.0

Progress = Callable[[str], None]


@contextmanager
def restored_sample(
    database: Database, shares: Mapping[str, float], *, scratch: Database, tools_dir: Path | None, progress: Progress
) -> Iterator[Database]:
    """A scratch database with about that share of each table's rows (by label), dropped at the end.

    Tables that no reference connects with topics and atoms are empty. Raises the errors of `restored_backup`, and
    `VerificationError` where a table has changed since the backup.
    """
    with database.connect("rehearsal") as connection:
        backup, origin, tools = proven_backup(connection), origin_of(connection), tools_of(connection, tools_dir)
    with (
        scratch_database(scratch, origin, progress, COMPARISON) as target,
        local_copy(backup.path, backup.sha256) as dump,
    ):
        entries = contents_of(dump, tools, origin).without_rows
        refuse_failure(
            restore_rows(dump, entries, target.database, tools, sections=["pre-data"]), backup.path, target.database
        )
        with exported_snapshot(database) as snapshot:
            tables = inventory.read(snapshot.connection).tables
            _copy(snapshot.connection, target.connection, tables, shares, progress)
        _delete_orphans(target.connection, tables)
        progress("creating the indexes and constraints of the sample")
        refuse_failure(
            restore_rows(dump, entries, target.database, tools, sections=["data", "post-data"]),
            backup.path,
            target.database,
        )
        with database.connect("rehearsal") as live:
            advance_sequences(live, target.connection)  # the rows are younger than the backup
        target.connection.execute(statement("restore/analyze"))
        yield target.database


def _copy(
    live: Connection,
    target: Connection,
    tables: Sequence[InventoriedTable],
    shares: Mapping[str, float],
    progress: Progress,
) -> None:
    sizes = {table.label: table.rows for table in tables}
    live.execute(statement("restore/exact_texts"))
    for table, compared in zip(tables, described(live, tables), strict=True):
        share = shares.get(table.label, ALL)
        progress(f"copying {table.label}: {100 * share:.3g} % of {table.rows:,} rows")
        columns = sql.SQL(", ").join(sql.Identifier(hashed.column.name) for _, hashed in compared.written)
        names = {"table": compared.name, "columns": columns}
        sampled = _sampled(table, compared, shares, sizes)
        try:
            with (
                live.cursor().copy(statement("rehearsal/copy_rows", **names, sampled=sampled)) as source,
                target.cursor().copy(statement("rehearsal/copy_into", **names)) as sink,
            ):
                for block in source:
                    sink.write(block)
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
            raise VerificationError(
                f"{table.label} has changed since the backup: {reason_of(error)}. Nothing was changed. Take a new backup (asset "
                "verified_backup), then run this again."
            ) from error


def _sampled(
    table: InventoriedTable, compared: ComparedTable, shares: Mapping[str, float], sizes: Mapping[str, int]
) -> sql.Composable:
    """The condition of the sample: by the reference to the largest sampled table, else by the table's own key."""
    parents = [
        key for key in table.foreign_keys if shares.get(key.referenced, ALL) < ALL and key.referenced != table.label
    ]
    largest = max(parents, key=lambda key: sizes[key.referenced], default=None)
    if largest is None and shares.get(table.label, ALL) >= ALL:
        return sql.SQL("true")
    own = [hashed.column.name for hashed in compared.key]
    names = largest.columns if largest else own
    share = shares[largest.referenced] if largest else shares[table.label]
    values = sql.SQL(", ").join(map(sql.Identifier, names)) if names else sql.SQL("ctid")
    return statement("rehearsal/sampled", values=values, limit=sql.Literal(round(share * SCALE)))


def _delete_orphans(target: Connection, tables: Sequence[InventoriedTable]) -> None:
    """Until none is left: a deleted row may be the parent of others."""
    names = {table.label: sql.Identifier(table.schema, table.name) for table in tables}
    deleted = -1
    while deleted:
        deleted = 0
        for key in (key for table in tables for key in table.foreign_keys):
            query = statement(
                "rehearsal/delete_orphans",
                table=names[key.table],
                referenced=names[key.referenced],
                child=_columns("child", key.columns),
                parent=_columns("parent", key.referenced_columns),
            )
            deleted += target.execute(query).rowcount


def _columns(table: str, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table, name) for name in names)
