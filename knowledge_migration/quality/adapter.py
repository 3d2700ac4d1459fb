"""Runs suites with Great Expectations against the live tables, and converts its results into check outcomes.

Its sessions are read-only, see one exported snapshot, create no temporary table, and have a statement timeout. All state is
in memory, except for the documents. A statement that fails raises: an error inside an expectation is no result.
"""

import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg import sql

from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Database, session_settings
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.quality.expectations import ROWS, Expectation, Suite, SuiteOutcome
from knowledge_migration.quality.suites import refused
from knowledge_migration.session_settings import apply_to_engine

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import SQLDatasource

SITE = "sign_off"
SOURCE = "database"
LONGEST_SAMPLE = 120


class UnansweredError(MigrationError):
    """A statement of an expectation failed, so there is no result."""


@contextmanager
def session(
    database: Database, snapshot_id: str, docs: Path, *, sample: int, statement_timeout_seconds: float
) -> Iterator["Session"]:
    """Great Expectations in memory, on this database as of an exported snapshot; closes its connections at the end."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        data_docs_sites={SITE: _site(docs)},
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{int(statement_timeout_seconds * 1000)}",
    }
    with _unwarned():
        source = context.data_sources.add_sql(
            SOURCE,
            connection_string="postgresql+psycopg://",
            create_temp_table=False,
            kwargs={
                "isolation_level": "REPEATABLE READ",
                "connect_args": database.connect_arguments("quality"),
            },
        )
    engine = source.get_execution_engine().engine
    apply_to_engine(engine, session_settings(settings), database.refuse_shared_sessions)
    engine.dispose()  # a connection that it has opened already has no settings
    join = statement("foundation/snapshot_join", snapshot=sql.Literal(snapshot_id)).as_string()
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(join))
    _fail_once(engine)
    try:
        yield Session(context, source, docs, sample)
    finally:
        engine.dispose()
        source.get_engine().dispose()


@contextmanager
def _unwarned() -> Iterator[None]:
    """Suppresses advice that does not apply: its PostgreSQL source accepts no Unix socket, and suites name schemas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fail_once(engine: sa.Engine) -> None:
    """Great Expectations repeats a failed statement three times; here it fails at once, so a timeout happens once."""
    failed: dict[str, BaseException] = {}

    def remember(context: sa.engine.ExceptionContext) -> None:
        if context.statement:
            failed.setdefault(context.statement, context.original_exception)

    def refuse(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if text in failed:
            raise failed[text]

    sa.event.listen(engine, "handle_error", remember)
    sa.event.listen(engine, "before_cursor_execute", refuse)


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }


@dataclass(frozen=True)
class Session:
    """An open context with the database as its source."""

    context: "EphemeralDataContext"
    source: "SQLDatasource"
    docs: Path
    sample: int

    def validate(self, suite: Suite) -> SuiteOutcome:
        """Validates the suite against its table.

        Raises `UnansweredError` naming suite, expectation and table if a statement fails, `PreconditionError` if Great
        Expectations rejects the suite.
        """
        import great_expectations as gx
        from great_expectations.core.run_identifier import RunIdentifier

        started = time.perf_counter()
        with _unwarned():
            asset = self.source.add_table_asset(suite.name, table_name=suite.table, schema_name=suite.schema)
        batch = asset.add_batch_definition_whole_table("all rows")
        registered = self.context.suites.add(
            gx.ExpectationSuite(suite.name, expectations=as_expectations(suite, self.sample))
        )
        definition = self.context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=registered)
        )
        checkpoint = gx.Checkpoint(
            name=suite.name,
            validation_definitions=[definition],
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": self.sample},
        )
        run = self.context.checkpoints.add(checkpoint).run(run_id=RunIdentifier(run_name=suite.name))
        (result,) = run.run_results.values()
        in_order = sorted(result.results, key=lambda one: one.expectation_config.meta["place"])
        outcomes = tuple(self._outcome(*pair, suite) for pair in zip(suite.expectations, in_order, strict=True))
        return SuiteOutcome(suite, outcomes, time.perf_counter() - started)

    def documented(self, outcomes: Sequence[SuiteOutcome]) -> tuple[SuiteOutcome, ...]:
        """Writes the pages of all suites at once; the outcomes with their pages."""
        self.context.build_data_docs(site_names=[SITE])
        return tuple(replace(outcome, page=_page(self.docs, outcome.suite)) for outcome in outcomes)

    def _outcome(self, expectation: Expectation, result: "ExpectationValidationResult", suite: Suite) -> CheckOutcome:
        errors = _errors(result.exception_info)
        if errors:
            where = f"{suite.file}, suite {suite.name}" if suite.file else f"suite {suite.name}"
            raise UnansweredError(
                f"The expectation {expectation.rule!r} ({expectation.type}) of {where} has no result on table "
                f"{suite.schema}.{suite.table}: {errors[0]} Fix the cause (a missing column, a statement that takes too "
                "long, an invalid query), then validate again."
            )
        return _converted(expectation, bool(result.success), result.result or {}, self.sample)


def as_expectations(suite: Suite, sample: int) -> list[Any]:
    """The expectations as objects of Great Expectations; raises `PreconditionError` naming the one that it rejects."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.registry import get_expectation_impl

    converted = []
    for place, expectation in enumerate(suite.expectations):
        described = {
            "severity": expectation.severity,
            "description": f"{expectation.rule} ({expectation.severity})",
            "meta": {"place": place},
        }
        try:
            plain = get_expectation_impl(expectation.type)(**expectation.kwargs, **described)
            if expectation.type == ROWS:
                plain = _counted_rows()(
                    unexpected_rows_query=_counted(plain.unexpected_rows_query, sample), **described
                )
            converted.append(plain)
        except (GreatExpectationsError, ValueError, TypeError) as error:
            reason = f"expectation {place + 1} ({expectation.type}) is rejected: {' '.join(str(error).split())}"
            raise refused(suite.file or suite.name, reason) from error
    return converted


def _counted(query: str, sample: int) -> str:
    """The query with the exact count and a bounded sample; Great Expectations would fetch every row."""
    rule = sql.SQL(query.rstrip("; \t\r\n"))
    return statement("foundation/count_and_sample", rule=rule, sample=sql.Literal(sample)).as_string()


@cache
def _counted_rows() -> Any:
    """The class, which Great Expectations registers as `counted_rows_expectation`."""
    from great_expectations.expectations import UnexpectedRowsExpectation

    class CountedRowsExpectation(UnexpectedRowsExpectation):  # type: ignore[misc]  # untyped here
        """The query returns no row; `observed_value` is the count that each row of the sample carries."""

        def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
            rows = [dict(row) for row in metrics["unexpected_rows_query.table"]]
            counts = [row.pop("offending_rows") for row in rows]
            result = {"observed_value": counts[0] if counts else 0, "details": {"unexpected_rows": rows}}
            return {"success": not rows, "result": result}

    return CountedRowsExpectation


def _errors(exception_info: Any) -> list[str]:
    """The messages of the exceptions inside an expectation, which are listed by metric or alone."""
    entries = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    return [_first_sentence(entry["exception_message"]) for entry in entries if entry["raised_exception"]]


def _first_sentence(message: object) -> str:
    """The server's message without the statement that follows it."""
    text = " ".join(re.split(r"\[SQL:", str(message))[0].split())
    return text if text.endswith(".") else f"{text}."


def _converted(expectation: Expectation, met: bool, result: dict[str, Any], most: int) -> CheckOutcome:
    """The outcome; `count` is 1 for a property of a column or table that differs (`observed`)."""
    rows = result.get("details", {}).get("unexpected_rows")
    count = result["observed_value"] if rows is not None else result.get("unexpected_count")
    values = rows if rows is not None else result.get("partial_unexpected_list", ())
    column = expectation.kwargs.get("column", "value")
    sample = [value if isinstance(value, dict) else {column: value} for value in values[:most]]
    shown = [{name: _shown(value) for name, value in row.items()} for row in sample]
    return CheckOutcome(
        expectation.type,
        0 if met else count or 1,
        tuple(row for place, row in enumerate(shown) if row not in shown[:place]),
        f"{expectation.rule[0].upper()}{expectation.rule[1:]}.",
        expectation.remedy,
        {} if count is not None else {"observed": str(result.get("observed_value", ""))},
    )


def _shown(value: Any) -> Any:
    """A value of the sample; a long text is truncated."""
    text = "(empty)" if value == "" else "NULL" if value is None else str(value)
    return text if len(text) <= LONGEST_SAMPLE else f"{text[:LONGEST_SAMPLE]}…"


def _page(docs: Path, suite: Suite) -> str:
    """The page of this suite, relative to the folder of the documents."""
    (page,) = (docs / "validations" / suite.name).rglob("*.html")
    return page.relative_to(docs).as_posix()
