"""Runs suites with Great Expectations against the live tables, and turns its results into ours.

It only reads: its sessions are read only, it makes no temporary table, and each statement has a time limit. All suites
see one moment of the database, so that a rule never meets half of what a user writes meanwhile. Everything that it keeps
is in memory, but for the documents, which go to the folder they are asked for. What its results call a failure although a
statement failed is raised: an error inside an expectation says nothing of the data.
"""

import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg import sql

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.quality.counted_rows import PLAIN, counted, counted_rows
from knowledge_migration.quality.model import Expectation, ExpectationOutcome, Suite, SuiteOutcome

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import SQLDatasource

SITE = "sign_off"
SOURCE = "database"
LONGEST_SAMPLE = 120


class UnansweredError(MigrationError):
    """A statement of an expectation failed, so that nothing is known about the data."""


@dataclass(frozen=True)
class Options:
    """How a validation runs: where its pages go, rows shown of those that break a rule, time limit of a statement."""

    docs: Path
    sample: int = 20
    statement_timeout_seconds: float = 300.0


@contextmanager
def session(database: Database, snapshot_id: str, options: Options) -> Iterator["Session"]:
    """Great Expectations on this database as of an exported snapshot, in memory; its connections are closed at the end."""
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
        data_docs_sites={SITE: _site(options.docs)},
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{int(options.statement_timeout_seconds * 1000)}",
    }
    with _unwarned():
        source = context.data_sources.add_sql(
            SOURCE,
            connection_string="postgresql+psycopg://",
            create_temp_table=False,
            kwargs={
                "isolation_level": "REPEATABLE READ",
                "connect_args": database.connect_arguments("quality", settings),
            },
        )
    engine = source.get_execution_engine().engine
    join = statement("quality/join_snapshot", snapshot=sql.Literal(snapshot_id)).as_string()
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(join))
    _fail_once(engine)
    try:
        yield Session(context, source, options)
    finally:
        engine.dispose()
        source.get_engine().dispose()


@contextmanager
def _unwarned() -> Iterator[None]:
    """Its advice is not for us: its own source for PostgreSQL takes no address of a Unix socket, and suites name schemas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fail_once(engine: sa.Engine) -> None:
    """Great Expectations tries what failed three times; a statement that ran into its time limit is not run again."""
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
    options: Options

    def validate(self, suite: Suite) -> SuiteOutcome:
        """Every demand of the suite against its table, and its pages.

        Raises `UnansweredError` naming suite, expectation and table where a statement failed, `PreconditionError` where
        Great Expectations does not take the suite.
        """
        import great_expectations as gx
        from great_expectations.checkpoint import UpdateDataDocsAction
        from great_expectations.core.run_identifier import RunIdentifier

        started = time.perf_counter()
        with _unwarned():
            asset = self.source.add_table_asset(suite.name, table_name=suite.table, schema_name=suite.schema)
        batch = asset.add_batch_definition_whole_table("all rows")
        made = self.context.suites.add(
            gx.ExpectationSuite(suite.name, expectations=as_expectations(suite, self.options.sample))
        )
        definition = self.context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=made)
        )
        checkpoint = gx.Checkpoint(
            name=suite.name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name=SITE, site_names=[SITE])],
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": self.options.sample},
        )
        run = self.context.checkpoints.add(checkpoint).run(run_id=RunIdentifier(run_name=suite.name))
        (result,) = run.run_results.values()
        outcomes = tuple(self._outcome(suite, one) for one in result.results)
        return SuiteOutcome(suite, outcomes, time.perf_counter() - started, _page(self.options.docs, suite))

    def _outcome(self, suite: Suite, result: "ExpectationValidationResult") -> ExpectationOutcome:
        expectation = suite.expectations[result.expectation_config.meta["place"]]
        errors = _errors(result.exception_info)
        if errors:
            where = f"{suite.file}, suite {suite.name}" if suite.file else f"suite {suite.name}"
            raise UnansweredError(
                f"The expectation {expectation.rule!r} ({expectation.type}) of {where} could not be answered on table "
                f"{suite.schema}.{suite.table}: {errors[0]} Nothing is known about the data; mend the cause (a column "
                "that is missing, a statement that takes too long, a query that is wrong), then validate again."
            )
        return _translated(expectation, bool(result.success), result.result or {}, self.options.sample)


def as_expectations(suite: Suite, sample: int) -> list[Any]:
    """The demands as Great Expectations' own objects; raises `PreconditionError` naming the one that it refuses."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.registry import get_expectation_impl

    made = []
    for place, expectation in enumerate(suite.expectations):
        try:
            kind = get_expectation_impl(expectation.type)
            words = f"{expectation.rule} ({expectation.severity})"
            plain = kind(**expectation.kwargs, severity=expectation.severity, description=words, meta={"place": place})
            made.append(_bounded(plain, sample) if expectation.type == PLAIN else plain)
        except (GreatExpectationsError, ValueError, TypeError) as error:
            raise PreconditionError(
                f"{suite.file or suite.name}: expectation {place + 1} ({expectation.type}) is refused: "
                f"{' '.join(str(error).split())}. Correct it after the gallery of Great Expectations, then validate again."
            ) from error
    return made


def _bounded(plain: Any, sample: int) -> Any:
    query = counted(plain.unexpected_rows_query, sample)
    described = {"severity": plain.severity, "meta": plain.meta, "description": plain.description}
    return counted_rows()(unexpected_rows_query=query, **described)


def _errors(found: Any) -> list[str]:
    """The messages of what was raised inside an expectation; they stand by metric, or alone."""
    entries = [found] if "raised_exception" in found else list(found.values())
    return [_first_words(entry["exception_message"]) for entry in entries if entry["raised_exception"]]


def _first_words(message: object) -> str:
    """The server's sentence without the statement that follows it."""
    words = " ".join(re.split(r"\[SQL:", str(message))[0].split())
    return words if words.endswith(".") else f"{words}."


def _translated(expectation: Expectation, met: bool, result: dict[str, Any], most: int) -> ExpectationOutcome:
    rows = result.get("details", {}).get("unexpected_rows")
    count = result["observed_value"] if rows is not None else result.get("unexpected_count")
    sample: Sequence[Any] = rows if rows is not None else result.get("partial_unexpected_list", ())
    observed = "" if count is not None else str(result.get("observed_value", ""))
    distinct = dict.fromkeys(_shown(value) for value in sample[:most])
    return ExpectationOutcome(expectation, met, count, tuple(distinct), observed)


def _shown(value: Any) -> str:
    """A value or row of the sample, cut where it is long."""
    if isinstance(value, dict):
        value = ", ".join(f"{name} {_named(part)}" for name, part in value.items())
    words = _named(value)
    return words if len(words) <= LONGEST_SAMPLE else f"{words[:LONGEST_SAMPLE]}…"


def _named(value: Any) -> str:
    return "(empty)" if value == "" else "NULL" if value is None else str(value)


def _page(docs: Path, suite: Suite) -> str:
    """The page of this suite's result, from the folder of the documents."""
    (page,) = (docs / "validations" / suite.name).rglob("*.html")
    return page.relative_to(docs).as_posix()
