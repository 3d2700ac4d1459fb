"""Expectations, suites and their outcomes as plain data, and one function per kind of expectation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql

from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.validation.data_quality import FINDINGS

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""From worst to mildest. Critical: the data must not be signed off. Warning and info: known to occur, for review."""

ROWS = "unexpected_rows_expectation"
BATCH = sql.SQL("{batch}")
"""Great Expectations replaces it by the table under validation."""

RESTORE_TYPE = "Alter the column back, or run the schema phase again: it names the differences from the declaration."
RESTORE_ROWS = (
    "Find the writer that bypassed the constraint, correct these rows, then add and validate the constraint again."
)

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_INTEGERS = ("INTEGER", "BIGINT")
_FINDINGS = {finding.name: finding for finding in FINDINGS}


@dataclass(frozen=True)
class Expectation:
    """One expectation: `type` and `kwargs` of Great Expectations, `rule` as a sentence, `remedy` for a violation."""

    type: str
    kwargs: dict[str, Any]
    severity: Severity
    rule: str
    remedy: str = ""


@dataclass(frozen=True)
class Suite:
    """The expectations on one table of a schema; `file` is the file of a user's suite."""

    name: str
    table: str
    expectations: tuple[Expectation, ...]
    schema: str = "public"
    file: str | None = None


@dataclass(frozen=True)
class SuiteOutcome:
    """The outcome of each expectation of a suite, in the order of the suite; `page` is its page of the documents."""

    suite: Suite
    outcomes: tuple[CheckOutcome, ...]
    seconds: float
    page: str = field(default="", compare=False)

    @property
    def failed(self) -> tuple[tuple[Expectation, CheckOutcome], ...]:
        """The expectations that are not met with their outcomes, the most severe first."""
        pairs = zip(self.suite.expectations, self.outcomes, strict=True)
        return tuple(sorted((p for p in pairs if not p[1].passed), key=lambda pair: SEVERITIES.index(pair[0].severity)))

    @property
    def critical(self) -> int:
        """The number of critical expectations that are not met."""
        return sum(expectation.severity == "critical" for expectation, _ in self.failed)

    @property
    def passed(self) -> bool:
        """True when every critical expectation is met."""
        return self.critical == 0

    @property
    def worst(self) -> Severity | None:
        """The highest severity of an expectation that is not met."""
        return self.failed[0][0].severity if self.failed else None

    def as_row(self) -> dict[str, Any]:
        """For a table and the evidence."""
        return {
            "suite": self.suite.name,
            "table": self.suite.table,
            "expectations": len(self.outcomes),
            "failed": len(self.failed),
            "critical": self.critical,
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
        }

    def failed_rows(self) -> list[dict[str, Any]]:
        """One row per expectation that is not met."""
        return [
            {
                "suite": self.suite.name,
                "expectation": expectation.rule,
                "severity": expectation.severity,
                "unexpected": outcome.numbers.get("observed", outcome.count),
                "sample": "; ".join(
                    ", ".join(f"{name} {value}" for name, value in row.items()) for row in outcome.sample
                ),
                "what_to_do": expectation.remedy,
            }
            for expectation, outcome in self.failed
        ]


def of_columns(table: sa.Table, *, legacy: bool, skip: Sequence[str] = ()) -> Iterator[Expectation]:
    """Type, NOT NULL and width of each declared column.

    A legacy table may have another width of an integer or a text, as the migration tolerates it. A value that a proposal
    could not hold is a warning there: it is quarantined row by row.
    """
    values: Severity = "warning" if legacy else "critical"
    for column in table.columns:
        if column.name in skip:
            continue
        yield has_type(column, legacy=legacy)
        if not column.nullable:
            yield Expectation(
                "expect_column_values_to_not_be_null",
                {"column": column.name},
                "critical" if column.primary_key else values,
                f"{column.name} is never NULL",
                RESTORE_ROWS,
            )
        if isinstance(column.type, sa.String) and column.type.length:
            yield Expectation(
                "expect_column_value_lengths_to_be_between",
                {"column": column.name, "max_value": column.type.length},
                values,
                f"{column.name} has at most {column.type.length} characters",
                "Shorten the value in the application; no value is truncated.",
            )


def has_type(column: sa.Column[object], *, legacy: bool) -> Expectation:
    """The column has its declared type; another width of a text is only a warning in a legacy table."""
    declared = str(column.type.compile(dialect=_DIALECT)).upper()
    tolerated = legacy and isinstance(column.type, sa.String)
    types = _INTEGERS if legacy and declared in _INTEGERS else (declared,)
    return Expectation(
        "expect_column_values_to_be_in_type_list",
        {"column": column.name, "type_list": list(types)},
        "warning" if tolerated else "critical",
        f"{column.name} has the type {' or '.join(types)}",
        "No action required; the width of each value is checked separately." if tolerated else RESTORE_TYPE,
    )


def unique(*columns: str) -> Expectation:
    """No value, or no combination of values, occurs twice."""
    if len(columns) == 1:
        return Expectation(
            "expect_column_values_to_be_unique",
            {"column": columns[0]},
            "critical",
            f"each {columns[0]} is unique",
            "Find the missing or invalid index, keep one row of each value, then build the index again.",
        )
    return Expectation(
        "expect_compound_columns_to_be_unique",
        {"column_list": list(columns)},
        "critical",
        f"each pair of {' and '.join(columns)} is unique",
        "Find out why the primary key is missing, keep one row of each pair, then add the key again.",
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
    """Every value is within these bounds, or NULL."""
    rule = f"{column} is between {low:g} and {high:g}" if high is not None else f"{column} is {low:g} or more"
    bounds = {"min_value": low} | ({} if high is None else {"max_value": high})
    return Expectation("expect_column_values_to_be_between", {"column": column, **bounds}, severity, rule, remedy)


def hex_colour(remedy: str) -> Expectation:
    """Every colour is an upper-case #RRGGBB, or NULL."""
    return Expectation(
        "expect_column_values_to_match_regex",
        {"column": "color", "regex": "^#[0-9A-F]{6}$"},
        "warning",
        "color is an upper-case #RRGGBB",
        remedy,
    )


def not_before(later: str, earlier: str, severity: Severity, remedy: str) -> Expectation:
    """One time is never before the other; rows without one of them are skipped."""
    return Expectation(
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": later, "column_B": earlier, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        severity,
        f"{later} is not before {earlier}",
        remedy,
    )


def no_rows(name: str, rule: str, severity: Severity, remedy: str, **names: str | sql.Composable) -> Expectation:
    """The query `quality/<name>` returns no row."""
    return _no_rows(statement(f"quality/{name}", batch=BATCH, **names), severity, rule, remedy)


def no_finding(name: str, rule: str, severity: Severity) -> Expectation:
    """The data quality finding of that name has no row."""
    finding = _FINDINGS[name]
    return _no_rows(finding.query(sql.SQL("(SELECT * FROM {})").format(BATCH)), severity, rule, finding.remedy)


def _no_rows(query: sql.Composed, severity: Severity, rule: str, remedy: str) -> Expectation:
    return Expectation(ROWS, {"unexpected_rows_query": query.as_string()}, severity, rule, remedy)


def not_empty(column: str, remedy: str) -> Expectation:
    """No value is the empty text."""
    return no_rows("empty_texts", f"{column} is not empty", "warning", remedy, key="id", column=column)


def refers(column: str, referenced: str, shown: Sequence[str]) -> Expectation:
    """Every value is the id of a row of the other table, or NULL."""
    return no_rows(
        "missing_reference",
        f"each {column} names a row of {referenced}",
        "critical",
        f"Restore the missing rows of {referenced} or clear these references, then validate the foreign key.",
        shown=sql.SQL(", ").join(map(sql.Identifier, shown)),
        column=column,
        referenced=f"public.{referenced}",
    )
