"""Validates all suites against the live database: outcomes, documents, evidence. Reads the user's tables only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.quality import documents
from knowledge_migration.quality.adapter import as_expectations, session
from knowledge_migration.quality.expectations import Suite, SuiteOutcome
from knowledge_migration.quality.suites import BLUEPRINTS, Columns, read_suites, refused
from knowledge_migration.settings import Settings

EVIDENCE = "quality_validation"


@dataclass(frozen=True)
class Validation:
    """The outcomes of the project's suites and of the user's, the suites whose tables do not exist, and the document."""

    suites: tuple[SuiteOutcome, ...]
    yours: tuple[SuiteOutcome, ...]
    absent: tuple[tuple[str, str], ...]
    index: Path

    @property
    def passed(self) -> bool:
        """True when every critical expectation is met."""
        return all(outcome.passed for outcome in (*self.suites, *self.yours))

    def as_rows(self) -> list[dict[str, Any]]:
        """One row per suite."""
        return [outcome.as_row() for outcome in (*self.suites, *self.yours)]

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence `quality_validation`."""
        return {"suites": self.as_rows(), "passed": self.passed, "data_docs": str(self.index)}


def validate(
    database: Database,
    directory: Path,
    settings: Settings,
    *,
    progress: Callable[[str], None] = lambda _: None,
    dagster_run_id: str = "",
) -> Validation:
    """Validates every suite whose table exists, writes the documents and records the evidence.

    Raises `PreconditionError` naming a file of the user that cannot be used, `UnansweredError` if a statement fails; then
    neither document nor evidence is written.
    """
    yours = read_suites(settings.quality.suites)
    with database.connect("quality") as connection:
        columns = _columns(connection, "public", [blueprint.table for blueprint in BLUEPRINTS])
        _require_usable(connection, yours)
    ours = tuple(blueprint.suite(columns) for blueprint in BLUEPRINTS if blueprint.table in columns)
    absent = tuple((blueprint.name, blueprint.table) for blueprint in BLUEPRINTS if blueprint.table not in columns)
    with documents.unpublished(directory) as folder:
        with exported_snapshot(database) as snapshot:
            # the user's first, so that a mistake in them shows before the long suites run
            outcomes = _run(database, snapshot.snapshot_id, (*yours, *ours), settings, folder, progress)
        of_yours, of_ours = outcomes[: len(yours)], outcomes[len(yours) :]
        sign_off = documents.SignOff(
            database=database.display,
            at=snapshot.taken_at,
            suites=(*of_ours, *of_yours),
            absent=absent,
            operator=audit.operator(),
            dagster_run_id=dagster_run_id,
        )
        index = documents.publish(folder, sign_off, kept=settings.quality.docs_kept)
    validation = Validation(of_ours, of_yours, absent, index)
    with database.connect("quality") as connection:
        evidence.record(connection, EVIDENCE, validation.to_evidence(), dagster_run_id=dagster_run_id or None)
    return validation


def _run(
    database: Database,
    snapshot_id: str,
    suites: Sequence[Suite],
    settings: Settings,
    folder: Path,
    progress: Callable[[str], None],
) -> tuple[SuiteOutcome, ...]:
    """Great Expectations reads every suite before the first one runs."""
    outcomes, sample = [], settings.validation.rules_sample
    timeout = settings.quality.statement_timeout_seconds
    with session(database, snapshot_id, folder, sample=sample, statement_timeout_seconds=timeout) as opened:
        for suite in suites:
            as_expectations(suite, sample)
        for suite in suites:
            outcome = opened.validate(suite)
            progress(
                f"{suite.name}: {len(outcome.outcomes)} expectations, {len(outcome.failed)} not met, {outcome.seconds:.1f} s"
            )
            outcomes.append(outcome)
        return opened.documented(outcomes)


def _columns(connection: Connection, schema: str, tables: list[str]) -> Columns:
    rows = connection.execute(text_of("quality/tables"), {"schema": schema, "tables": tables}).fetchall()
    return {name: {row["column"] for row in rows if row["table"] == name} for name in {row["table"] for row in rows}}


def _require_usable(connection: Connection, yours: Sequence[Suite]) -> None:
    """Raises `PreconditionError` without an evidence store, or for a suite of the user with a wrong table or name."""
    if not _columns(connection, "migration", ["evidence"]):
        raise PreconditionError(
            "This database has no evidence store, so a validation could not be recorded. Materialize evidence_store first."
        )
    for suite in yours:
        if not _columns(connection, suite.schema, [suite.table]):
            raise refused(suite.file, f"there is no table {suite.schema}.{suite.table}")
        if suite.name in {blueprint.name for blueprint in BLUEPRINTS}:
            raise refused(suite.file, f"{suite.name} is the name of a suite of the project")
