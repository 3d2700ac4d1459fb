"""A table as it is compared with the backup: its key, the hash of its rows, and its rows read and written as texts.

The columns are those of the backup without the migration's own two. A row of a table without a primary key is identified by the
hash of its values. Needs `restore/exact_texts` in the transaction, on both sides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from psycopg import errors, sql
from psycopg.rows import tuple_row

from knowledge_migration.engine.backfill.batch import DATA_ERRORS
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.inventory import InventoriedTable
from knowledge_migration.engine.foundation.sql_files import CatalogText, statement, text_of
from knowledge_migration.engine.foundation.user_tables import HashedColumn, HashedTable, hashed_tables

STAMP = "updated_at"
STAMP_TYPES = ("timestamp with time zone", "timestamp without time zone")

Key = tuple[str, ...]
Lock = Literal["none", "skip", "wait"]
Change = Literal["update", "insert"]

LOCKS: Mapping[Lock, sql.SQL] = {
    "none": sql.SQL(""),
    "skip": sql.SQL("FOR NO KEY UPDATE OF source SKIP LOCKED"),
    "wait": sql.SQL("FOR NO KEY UPDATE OF source"),
}
REFUSALS = (*DATA_ERRORS, errors.ForeignKeyViolation)


@dataclass(frozen=True)
class ComparedTable:
    """One table; `key` are the columns of its primary key, `range_key` the first of them where it is an integer."""

    hashed: HashedTable
    key: tuple[HashedColumn, ...]
    range_key: str | None
    generated: frozenset[str]

    @property
    def label(self) -> str:
        """The name in reports."""
        return self.hashed.label

    @property
    def columns(self) -> tuple[HashedColumn, ...]:
        """Every compared column."""
        return self.hashed.columns

    @property
    def is_stamped(self) -> bool:
        """Whether the application records in the row when it wrote it."""
        return any(
            hashed.column.name == STAMP
            and (hashed.column.type in STAMP_TYPES or hashed.column.type.startswith("timestamp("))
            for hashed in self.columns
        )

    @property
    def name(self) -> sql.Identifier:
        """The table in a statement."""
        return sql.Identifier(self.hashed.schema, self.hashed.name)

    @property
    def row_hash(self) -> sql.Composed:
        """The hash of a row's values, as the fingerprint sums it."""
        return _hash(self.columns)

    @property
    def place(self) -> sql.Composed:
        """A number that is the same for the same key on every server."""
        return _hash(self.key or self.columns)

    @property
    def key_texts(self) -> sql.Composed:
        """The key of a row as an array of texts."""
        return _texts(self.key) if self.key else sql.SQL("ARRAY[({})::text]").format(self.row_hash)

    @property
    def value_texts(self) -> sql.Composed:
        """Every value of a row as an array of texts, NULL for NULL."""
        return _texts(self.columns)

    @property
    def stamp(self) -> sql.Composable:
        """When the application wrote the row, in seconds; NULL where it does not record it."""
        if not self.is_stamped:
            return sql.SQL("NULL::double precision")
        return sql.SQL("extract(epoch FROM {})::double precision").format(sql.Identifier(STAMP))

    @property
    def written(self) -> list[tuple[int, HashedColumn]]:
        """The columns that may be written, with their number: all but those that the server computes."""
        return [
            (number, hashed) for number, hashed in enumerate(self.columns) if hashed.column.name not in self.generated
        ]

    def within(self, low: int, high: int) -> sql.Composable:
        """The condition of one range of keys."""
        assert self.range_key is not None
        bounds = (sql.Identifier(self.range_key), sql.Literal(low), sql.Literal(high))
        return sql.SQL("{} BETWEEN {} AND {}").format(*bounds)


def described(connection: Connection, tables: Sequence[InventoriedTable]) -> list[ComparedTable]:
    """The tables as the backup has them, in the order given. Needs exact texts set: the types come out qualified."""
    names = [(table.schema, table.name) for table in tables]
    parameters = {"schemas": [schema for schema, _ in names], "tables": [name for _, name in names]}
    keys = {(row["schema"], row["table"]): row for row in connection.execute(statement("restore/keys"), parameters)}
    return [
        _described(table, keys[(table.schema, table.name)]["key"], keys[(table.schema, table.name)]["generated"])
        for table in hashed_tables(connection, names)
    ]


def _described(table: HashedTable, key: list[str], generated: list[str]) -> ComparedTable:
    first = key[0] if key and table.key == key[0] else None
    hashed = replace(table, key=first or table.key)
    return ComparedTable(hashed, table.only(key).columns, first, frozenset(generated))


def refuse_changed_columns(connection: Connection, tables: Sequence[ComparedTable]) -> None:
    """Raises `VerificationError` when a table or column of the backup is missing or has another type."""
    present = hashed_tables(connection, [(table.hashed.schema, table.hashed.name) for table in tables])
    types = {table.label: {hashed.column.name: hashed.column.type for hashed in table.columns} for table in present}
    changed = []
    for table in tables:
        if table.label not in types:
            changed.append(f"{table.label} is missing")
            continue
        for column in (hashed.column for hashed in table.columns):
            now = types[table.label].get(column.name, "missing")
            if now != column.type:
                changed.append(f"{table.label}.{column.name} is {now} and was {column.type}")
    if changed:
        raise VerificationError(
            f"The application's own tables have changed since the backup, so rows cannot be compared: {'; '.join(changed)}. "
            "Nothing was changed. Revert the application's schema change first, or restore single rows from the backup "
            "yourself."
        )


def refuse_new_columns(
    connection: Connection, tables: Sequence[ComparedTable], present: Sequence[InventoriedTable]
) -> None:
    """Raises `VerificationError` when the `present` tables have tables or columns that the backup does not have."""
    known = {table.label: {hashed.column.name for hashed in table.columns} for table in tables}
    new = []
    for table in hashed_tables(connection, [(table.schema, table.name) for table in present]):
        if table.label not in known:
            new.append(f"{table.label} is new")
            continue
        names = [hashed.column.name for hashed in table.columns]
        new += [f"{table.label}.{name} is new" for name in names if name not in known[table.label]]
    if new:
        raise VerificationError(
            f"The application has added tables or columns since the backup: {'; '.join(new)}. The restored database would not "
            "have them. Nothing was changed. Revert the application's schema change first, or restore single rows from "
            "the backup yourself."
        )


@dataclass(frozen=True)
class Row:
    """One row: the hash of its values and each value as text, in the order of the table's columns."""

    hash: int
    values: tuple[str | None, ...]


def rows_by_key(
    connection: Connection, table: ComparedTable, keys: Sequence[Key], lock: Lock = "none"
) -> dict[Key, Row]:
    """Those of the rows that exist, and with "skip" that nobody holds; locked until the transaction ends."""
    if not keys:
        return {}
    width = len(keys[0])
    if table.key:
        matching = _equal("source", "wanted", list(enumerate(table.key)))
    else:
        matching = sql.SQL("({}) = {}::bigint").format(table.row_hash, sql.Identifier("wanted", _text_name(0)))
    query = statement(
        "restore/rows_by_key",
        key=table.key_texts,
        hash=table.row_hash,
        values=table.value_texts,
        table=table.name,
        matching=matching,
        lock=LOCKS[lock],
        **_text_arrays(width),
    )
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(query, _arrays(keys, width))
        return {tuple(key): Row(row_hash, tuple(values)) for key, row_hash, values in cursor}


def write(connection: Connection, table: ComparedTable, change: Change, rows: Mapping[Key, Row]) -> None:
    """Updates or inserts the rows in the open transaction, and proves that they are stored as given.

    Raises what psycopg raises, and `VerificationError` when something in the database changed a value on the way.
    """
    if not rows:
        return
    connection.execute(text_of("restore/own_search_path"))
    composed = _update(table) if change == "update" else _insert(table)
    connection.execute(composed, _arrays([row.values for row in rows.values()], len(table.columns)))
    connection.execute(statement("restore/exact_texts"))
    stored = rows_by_key(connection, table, list(rows))
    wrong = [key for key, row in rows.items() if key not in stored or stored[key].hash != row.hash]
    if wrong:
        raise VerificationError(
            f"Row {', '.join(wrong[0])} of {table.label} is not as it was written: a trigger or a rule of the table changes "
            "it. The row stays as it was. Disable that trigger while this runs, then run it again."
        )


def _update(table: ComparedTable) -> sql.Composed:
    names = {hashed.column.name for hashed in table.key}
    assigned = [
        sql.SQL("{} = {}").format(sql.Identifier(hashed.column.name), _cast("given", number, hashed))
        for number, hashed in table.written
        if hashed.column.name not in names
    ]
    key = [(number, hashed) for number, hashed in enumerate(table.columns) if hashed.column.name in names]
    return statement(
        "restore/update_rows",
        table=table.name,
        assignments=_listed(assigned),
        matching=_equal("target", "given", key),
        **_text_arrays(len(table.columns)),
    )


def _insert(table: ComparedTable) -> sql.Composed:
    return statement(
        "restore/insert_rows",
        table=table.name,
        columns=_listed(sql.Identifier(hashed.column.name) for _, hashed in table.written),
        values=_listed(_cast("given", number, hashed) for number, hashed in table.written),
        **_text_arrays(len(table.columns)),
    )


def _arrays(rows: Sequence[Sequence[str | None]], width: int) -> dict[str, list[str | None]]:
    """One array per column, named as in `_text_arrays`."""
    return {_text_name(number): [row[number] for row in rows] for number in range(width)}


def _text_arrays(count: int) -> dict[str, sql.Composable]:
    """The arrays of texts that a statement takes, and the names of their elements."""
    return {
        "arrays": _listed(sql.SQL("{}::text[]").format(sql.Placeholder(_text_name(n))) for n in range(count)),
        "names": _listed(sql.Identifier(_text_name(n)) for n in range(count)),
    }


def _text_name(number: int) -> str:
    """No column is likely to have this name."""
    return f"given text {number}"


def _cast(given: str, number: int, hashed: HashedColumn) -> sql.Composed:
    """The text with that number as a value of the column; format_type has quoted the type where it needs it."""
    return sql.SQL("CAST({} AS {})").format(sql.Identifier(given, _text_name(number)), CatalogText(hashed.column.type))


def _equal(row: str, given: str, members: Sequence[tuple[int, HashedColumn]]) -> sql.Composable:
    """The condition that these columns of `row` have the values of which `given` holds the texts."""
    pairs = [
        sql.SQL("{} = {}").format(sql.Identifier(row, hashed.column.name), _cast(given, number, hashed))
        for number, hashed in members
    ]
    return sql.SQL(" AND ").join(pairs)


def _hash(columns: Sequence[HashedColumn]) -> sql.Composed:
    return statement("restore/row_hash", values=_listed(hashed.expression for hashed in columns))


def _texts(columns: Sequence[HashedColumn]) -> sql.Composed:
    texts = (sql.SQL("{}::text").format(sql.Identifier(hashed.column.name)) for hashed in columns)
    return sql.SQL("ARRAY[{}]::text[]").format(_listed(texts))


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(list(parts))
