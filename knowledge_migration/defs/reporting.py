"""Converts results of the engine to Dagster: tables, plots, check results, and failures with their remedy."""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.foundation import progress
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, MigrationError
from knowledge_migration.engine.foundation.explanation import explained, innermost
from knowledge_migration.engine.observability.plots import Chart

if TYPE_CHECKING:
    import pandas as pd

EXACT_IN_A_BROWSER = 2**53


def table(frame: "pd.DataFrame") -> dg.TableMetadataValue:
    """A frame as a table of the UI."""
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows_table([{str(key): value for key, value in row.items()} for row in records])


def rows_table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table of the UI."""
    records = [dg.TableRecord({str(key): _cell(value) for key, value in row.items()}) for row in rows]
    schema = None if records else dg.TableSchema(columns=[dg.TableColumn("nothing", "string")])
    return dg.MetadataValue.table(records=records, schema=schema)


def _cell(value: Any) -> Any:
    """A value as a cell of a table: numbers stay numbers, nested values become text."""
    if hasattr(value, "item"):
        value = value.item()
    value = plain(value)
    if isinstance(value, int) and abs(value) > EXACT_IN_A_BROWSER:
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def picture(chart: Chart, title: str) -> dg.MarkdownMetadataValue:
    """A plot, shown in the UI without a file."""
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(chart.png).decode()})")


def check_result(
    outcome: CheckOutcome, *, asset: str, warns: bool = False, shows: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """An outcome as a check result: the exact count, a sample and the remedy; `shows` is further metadata."""
    metadata: dict[str, Any] = {
        **(shows or {}),
        "result": outcome.sentence,
        "offending": outcome.count,
        **{key: _shown(value) for key, value in outcome.numbers.items() if value is not None},
    }
    if not outcome.passed:
        metadata["sample"] = rows_table([plain(row) for row in outcome.sample])
        metadata["what_to_do"] = outcome.remedy
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key=asset,
        passed=outcome.passed,
        severity=severity(warns=warns),
        description=outcome.sentence,
        metadata=metadata,
    )


def not_evaluated(check: str, why: str) -> dg.AssetCheckResult:
    """A check that had nothing to evaluate, as a warning."""
    return dg.AssetCheckResult(
        check_name=check, passed=False, severity=severity(warns=True), description=why, metadata={"result": why}
    )


def _shown(value: Any) -> Any:
    """Rows as a table, other values as they are."""
    is_table = isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    return rows_table(value) if is_table else plain(value)


def severity(*, warns: bool) -> dg.AssetCheckSeverity:
    """WARN or ERROR."""
    return dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR


def plain(value: Any) -> Any:
    """A value as JSON and Dagster's metadata accept it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else value.isoformat()
    try:
        json.dumps(value)
    except TypeError:
        return str(value)
    return value


def progress_reporter(log: Callable[[str], None], work: str) -> Callable[[str], None]:
    """A function that reports the progress of a step to the run's log and to listeners in this process."""

    def report(message: str) -> None:
        log(f"{work}: {message}")
        progress.report_progress(progress.Report(work, message))

    return report


@contextmanager
def as_dagster_failure() -> Iterator[None]:
    """Converts an error of the engine, the server or a disk into a `dg.Failure` with its remedy.

    A blocked or busy step may be retried.
    """
    try:
        yield
    except MigrationError as error:
        raise dg.Failure(
            description=str(error),
            metadata={
                "kind": type(error).__name__,
                "what_to_do": str(error),
                "safe_to_run_again": True,
            },
            allow_retries=isinstance(error, BlockedError | BusyError),
        ) from error
    except (psycopg.Error, sa.exc.DBAPIError, OSError) as error:
        message = explained(error)
        raise dg.Failure(
            description=message,
            metadata={"kind": type(innermost(error)).__name__, "what_to_do": message, "safe_to_run_again": True},
            allow_retries=False,
        ) from error
