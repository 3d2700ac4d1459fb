"""A table as it is compared with the backup: its key, how its rows are hashed, how its values become text and back.

The columns are those of the backup without the migration's own two. A table without a primary key is compared too: a row
is then known by the hash of its values, so that equal rows are only counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from knowledge_migration.engine.foundation import hashed_columns
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.hashed_columns import HashedColumn, HashedTable
from knowledge_migration.engine.foundation.inventory import InventoriedTable
from knowledge_migration.engine.foundation.sql_files import statement

STAMP = "updated_at"
STAMP_TYPES = ("timestamp with time zone", "timestamp without time zone")


@dataclass(frozen=True)
class ComparedTable:
    """One table; `key` are the columns of its primary key, `range_key` the first of them where it is an integer."""

    hashed: HashedTable
    key: tuple[HashedColumn, ...]
    range_key: str | None
    generated: frozenset[str]

    @property
    def label(self) -> str:
        """The name under which reports show it."""
        return self.hashed.label

    @property
    def columns(self) -> tuple[HashedColumn, ...]:
        """Every compared column."""
        return self.hashed.columns

    @property
    def is_stamped(self) -> bool:
        """Whether the application says in the row when it wrote it."""
        return any(_is_stamp(hashed) for hashed in self.columns)

    @property
    def name(self) -> sql.Identifier:
        """The table in a statement."""
        return sql.Identifier(self.hashed.schema, self.hashed.name)

    @property
    def row_hash(self) -> sql.Composed:
        """The hash of a row's values, as the fingerprint sums it."""
        return statement("restore/row_hash", values=_listed([hashed.expression for hashed in self.columns]))

    @property
    def place(self) -> sql.Composable:
        """A number that is the same for the same key on every server."""
        if not self.key:
            return self.row_hash
        return statement("restore/row_hash", values=_listed([hashed.expression for hashed in self.key]))

    @property
    def key_texts(self) -> sql.Composed:
        """The key of a row as an array of texts."""
        return _texts([_text(hashed) for hashed in self.key] or [sql.SQL("({})::text").format(self.row_hash)])

    @property
    def value_texts(self) -> sql.Composed:
        """Every value of a row as an array of texts, NULL for NULL."""
        return _texts([_text(hashed) for hashed in self.columns])

    @property
    def stamp(self) -> sql.Composable:
        """When the application says that it wrote the row, in seconds; NULL where it does not say."""
        if not self.is_stamped:
            return sql.SQL("NULL::double precision")
        return sql.SQL("extract(epoch FROM {})::double precision").format(sql.Identifier(STAMP))

    @property
    def written(self) -> tuple[HashedColumn, ...]:
        """The columns that may be written: all but those that the server computes."""
        return tuple(hashed for hashed in self.columns if hashed.column.name not in self.generated)

    def within(self, low: int, high: int) -> sql.Composable:
        """The condition of one range of keys."""
        assert self.range_key is not None
        bounds = (sql.Identifier(self.range_key), sql.Literal(low), sql.Literal(high))
        return sql.SQL("{} BETWEEN {} AND {}").format(*bounds)

    def matching_key(self, row: str, given: str) -> sql.Composable:
        """The condition that the row `row` has the key of which `given` holds the texts."""
        if not self.key:
            return sql.SQL("({}) = {}::bigint").format(self.row_hash, sql.Identifier(given, text_name(0)))
        return _equal(row, given, list(enumerate(self.key)))

    def matching_values(self, row: str, given: str) -> sql.Composable:
        """The condition that the row `row` has the key that is among the values of which `given` holds the texts."""
        numbered = {hashed.column.name: number for number, hashed in enumerate(self.columns)}
        return _equal(row, given, [(numbered[hashed.column.name], hashed) for hashed in self.key])


def described(connection: Connection, tables: Sequence[InventoriedTable]) -> list[ComparedTable]:
    """The tables as the backup has them, in the order given. Needs exact texts set: the types come out qualified."""
    wanted = [(table.schema, table.name) for table in tables]
    parameters = {"schemas": [schema for schema, _ in wanted], "tables": [name for _, name in wanted]}
    keys = {(row["schema"], row["table"]): row for row in connection.execute(statement("restore/keys"), parameters)}
    return [
        _described(table, keys[(table.schema, table.name)]["key"], keys[(table.schema, table.name)]["generated"])
        for table in hashed_columns.read(connection, wanted)
    ]


def refuse_changed_columns(connection: Connection, tables: Sequence[ComparedTable]) -> None:
    """Raises `VerificationError` when a table or column of the backup is no longer there as it was."""
    found = hashed_columns.read(connection, [(table.hashed.schema, table.hashed.name) for table in tables])
    types = {table.label: {hashed.column.name: hashed.column.type for hashed in table.columns} for table in found}
    changed = [
        f"{table.label}.{hashed.column.name} is {types[table.label].get(hashed.column.name, 'missing')}"
        f" and was {hashed.column.type}"
        if table.label in types
        else f"{table.label} is missing"
        for table in tables
        for hashed in (table.columns if table.label in types else table.columns[:1])
        if types.get(table.label, {}).get(hashed.column.name) != hashed.column.type
    ]
    if changed:
        raise VerificationError(
            f"The application's own tables have changed since the backup, so rows cannot be compared: {'; '.join(changed)}. "
            "Nothing was changed. Take the change of the application back first, or restore what is needed by hand "
            "from the backup."
        )


def refuse_new_columns(
    connection: Connection, tables: Sequence[ComparedTable], present: Sequence[InventoriedTable]
) -> None:
    """Raises `VerificationError` when the `present` tables hold what the backup knows nothing of."""
    known = {table.label: {hashed.column.name for hashed in table.columns} for table in tables}
    found = hashed_columns.read(connection, [(table.schema, table.name) for table in present])
    new = [
        f"{table.label}.{hashed.column.name} is new" if table.label in known else f"{table.label} is new"
        for table in found
        for hashed in (table.columns if table.label in known else table.columns[:1])
        if hashed.column.name not in known.get(table.label, ())
    ]
    if new:
        raise VerificationError(
            f"The application has added tables or columns since the backup: {'; '.join(new)}. The restored database would not "
            "have them. Nothing was changed. Take that change of the application back first, or restore what is needed by "
            "hand from the backup."
        )


def text_name(number: int) -> str:
    """The name of the text with that number among those that are handed over; no column is likely to have it."""
    return f"given text {number}"


def text_arrays(count: int) -> dict[str, sql.Composable]:
    """The arrays of texts that a statement takes, named as their elements are."""
    return {
        "arrays": _listed([sql.SQL("{}::text[]").format(sql.Placeholder(text_name(n))) for n in range(count)]),
        "names": _listed([sql.Identifier(text_name(n)) for n in range(count)]),
    }


def cast(given: str, number: int, hashed: HashedColumn) -> sql.Composed:
    """The text with that number as a value of the column; the type is written as the catalog writes it."""
    return sql.SQL("CAST({} AS {})").format(sql.Identifier(given, text_name(number)), _type(hashed))


def _described(table: HashedTable, key: list[str], generated: list[str]) -> ComparedTable:
    members = table.only(key).columns
    first = key[0] if key and table.key == key[0] else None
    return ComparedTable(replace(table, key=first or table.key), members, first, frozenset(generated))


def _equal(row: str, given: str, members: Sequence[tuple[int, HashedColumn]]) -> sql.Composable:
    pairs = [
        sql.SQL("{} = {}").format(sql.Identifier(row, hashed.column.name), cast(given, number, hashed))
        for number, hashed in members
    ]
    return sql.SQL(" AND ").join(pairs)


def _is_stamp(hashed: HashedColumn) -> bool:
    kind = hashed.column.type
    return hashed.column.name == STAMP and (kind in STAMP_TYPES or kind.startswith("timestamp("))


def _type(hashed: HashedColumn) -> sql.SQL:
    return sql.SQL(hashed.column.type)  # of format_type, which quotes what needs it


def _text(hashed: HashedColumn) -> sql.Composed:
    return sql.SQL("{}::text").format(sql.Identifier(hashed.column.name))


def _texts(texts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("ARRAY[{}]::text[]").format(_listed(texts))


def _listed(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
