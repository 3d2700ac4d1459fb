"""One function a kind of demand: what it says in words, and how Great Expectations is told it."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql

from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.quality.model import Expectation, Severity

RESTORE_TYPE = "alter the column back, or run the schema phase again: it names what differs from the declaration"
RESTORE_ROWS = "find out what wrote these rows around the constraint, correct them, then add and validate it again"

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_INTEGERS = ("INTEGER", "BIGINT")


def of_columns(table: sa.Table, *, legacy: bool, skip: Sequence[str] = ()) -> Iterator[Expectation]:
    """What the declaration of a table says of each column: type, NOT NULL, width.

    In legacy tables another width of an integer or a text is tolerated, as the migration tolerates it, and a value that
    a proposal could not hold is a warning: the quarantine decides on it, row by row.
    """
    values: Severity = "warning" if legacy else "critical"
    for column in table.columns:
        if column.name in skip:
            continue
        yield has_type(column, legacy=legacy)
        if not column.nullable:
            yield not_null(column.name, "critical" if column.primary_key else values)
        if isinstance(column.type, sa.String) and column.type.length:
            yield at_most_characters(column.name, column.type.length, values)


def has_type(column: sa.Column[object], *, legacy: bool) -> Expectation:
    """The column has its declared type. A text of another width is no more than a warning in a legacy table."""
    declared = str(column.type.compile(dialect=_DIALECT)).upper()
    tolerated = legacy and isinstance(column.type, sa.String)
    types = _INTEGERS if legacy and declared in _INTEGERS else (declared,)
    return Expectation(
        "expect_column_values_to_be_in_type_list",
        {"column": column.name, "type_list": list(types)},
        "warning" if tolerated else "critical",
        f"{column.name} has the type {' or '.join(types)}",
        "none needed; the width of each value is looked at beside it" if tolerated else RESTORE_TYPE,
    )


def not_null(column: str, severity: Severity = "critical", remedy: str = RESTORE_ROWS) -> Expectation:
    """No row lacks a value."""
    return Expectation(
        "expect_column_values_to_not_be_null", {"column": column}, severity, f"{column} is never NULL", remedy
    )


def at_most_characters(column: str, characters: int, severity: Severity) -> Expectation:
    """No value is wider than its declaration."""
    return Expectation(
        "expect_column_value_lengths_to_be_between",
        {"column": column, "max_value": characters},
        severity,
        f"{column} has at most {characters} characters",
        "shorten the value in the application; nothing is cut off silently",
    )


def not_empty(column: str, key: str, severity: Severity, remedy: str) -> Expectation:
    """No value is the empty text; the key says in which rows one is."""
    query = statement("quality/empty_texts", batch=sql.SQL("{batch}"), key=key, column=column).as_string()
    return Expectation(
        "unexpected_rows_expectation", {"unexpected_rows_query": query}, severity, f"{column} is not empty", remedy
    )


def unique(column: str, severity: Severity = "critical") -> Expectation:
    """No value stands twice."""
    return Expectation(
        "expect_column_values_to_be_unique",
        {"column": column},
        severity,
        f"each {column} stands once",
        "find out which index is missing or invalid, keep one row of each, then build the index again",
    )


def unique_together(*columns: str) -> Expectation:
    """No pair of values stands twice."""
    return Expectation(
        "expect_compound_columns_to_be_unique",
        {"column_list": list(columns)},
        "critical",
        f"each pair of {' and '.join(columns)} stands once",
        "find out why the primary key is gone, keep one row of each pair, then add the key again",
    )


def one_of(column: str, values: Sequence[str], severity: Severity, remedy: str = RESTORE_ROWS) -> Expectation:
    """Every value is one of these, or NULL."""
    return Expectation(
        "expect_column_values_to_be_in_set",
        {"column": column, "value_set": list(values)},
        severity,
        f"{column} is one of {', '.join(values)}",
        remedy,
    )


def between(column: str, low: float, high: float | None, severity: Severity, remedy: str = RESTORE_ROWS) -> Expectation:
    """Every value lies within these bounds, or is NULL."""
    words = f"{column} lies within {low:g} and {high:g}" if high is not None else f"{column} is {low:g} or more"
    bounds = {"min_value": low} | ({} if high is None else {"max_value": high})
    return Expectation("expect_column_values_to_be_between", {"column": column, **bounds}, severity, words, remedy)


def matches(column: str, pattern: str, words: str, severity: Severity, remedy: str) -> Expectation:
    """Every value has this form, or is NULL."""
    return Expectation(
        "expect_column_values_to_match_regex", {"column": column, "regex": pattern}, severity, words, remedy
    )


def not_before(later: str, earlier: str, severity: Severity, remedy: str) -> Expectation:
    """One time is never before the other; rows that lack one are left out."""
    return Expectation(
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": later, "column_B": earlier, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        severity,
        f"{later} is not before {earlier}",
        remedy,
    )


def refers(column: str, referenced: str, shown: Sequence[str], severity: Severity = "critical") -> Expectation:
    """Every value names a row of the other table, or is NULL."""
    composed = statement(
        "quality/missing_reference",
        batch=sql.SQL("{batch}"),
        shown=sql.SQL(", ").join(map(sql.Identifier, shown)),
        column=column,
        referenced=f"public.{referenced}",
    )
    return Expectation(
        "unexpected_rows_expectation",
        {"unexpected_rows_query": composed.as_string()},
        severity,
        f"each {column} names a row of {referenced}",
        f"restore the missing rows of {referenced} or take these references away, then validate the foreign key",
    )


def no_rows(name: str, words: str, severity: Severity, remedy: str) -> Expectation:
    """The query `sql/quality/<name>.sql` returns nothing."""
    query = text_of(f"quality/{name}")
    return Expectation("unexpected_rows_expectation", {"unexpected_rows_query": query}, severity, words, remedy)
