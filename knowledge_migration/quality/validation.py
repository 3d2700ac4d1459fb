"""One validation of all suites against the live database: outcomes, documents, evidence. Reads the user's tables only."""

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
from knowledge_migration.quality.adapter import Options, as_expectations, session
from knowledge_migration.quality.model import Suite, SuiteOutcome
from knowledge_migration.quality.suites import BLUEPRINTS, Columns
from knowledge_migration.quality.your_suites import read_suites

EVIDENCE = "quality_validation"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ValidationOptions:
    """Where the documents go and how many runs of them stay; the user's suites; sample and limit of a statement."""

    directory: Path
    kept: int = 30
    your_suites: Path | None = None
    sample: int = 20
    statement_timeout_seconds: float = 300.0


@dataclass(frozen=True)
class Validation:
    """What came of it: the project's suites, those of the user, those whose tables are not there, and the document."""

    suites: tuple[SuiteOutcome, ...]
    yours: tuple[SuiteOutcome, ...]
    absent: tuple[tuple[str, str], ...]
    index: Path

    @property
    def passed(self) -> bool:
        """True when no critical expectation is broken."""
        return all(outcome.passed for outcome in (*self.suites, *self.yours))

    def as_rows(self) -> list[dict[str, Any]]:
        """One row a suite."""
        return [outcome.as_row() for outcome in (*self.suites, *self.yours)]

    def to_evidence(self) -> dict[str, Any]:
        """As `migration.evidence` keeps it."""
        return {"suites": self.as_rows(), "passed": self.passed, "data_docs": str(self.index)}


def validate(
    database: Database, options: ValidationOptions, *, tell: Tell = lambda _: None, dagster_run_id: str = ""
) -> Validation:
    """Validates every suite whose table is there, writes the documents and records the evidence.

    Raises `PreconditionError` naming a file of the user's that cannot be used, `UnansweredError` where a statement failed;
    then there is neither document nor evidence.
    """
    yours = read_suites(options.your_suites)
    with database.connect("quality") as connection:
        _refuse_without_store(connection)
        columns = _columns(connection, "public", [blueprint.table for blueprint in BLUEPRINTS])
        _refuse_missing_tables(connection, yours)
    ours = tuple(blueprint.suite(columns) for blueprint in BLUEPRINTS if blueprint.table in columns)
    absent = tuple((blueprint.name, blueprint.table) for blueprint in BLUEPRINTS if blueprint.table not in columns)
    _refuse_taken_names(yours)
    with documents.in_the_making(options.directory) as folder:
        with exported_snapshot(database) as snapshot:
            # the user's first: a mistake in them shows before the long ones run
            made = _run(database, snapshot.snapshot_id, (*yours, *ours), options, folder, tell)
        of_yours, of_ours = made[: len(yours)], made[len(yours) :]
        sign_off = documents.SignOff(
            database=database.display,
            at=snapshot.taken_at,
            suites=(*of_ours, *of_yours),
            absent=absent,
            operator=audit.operator(),
            dagster_run_id=dagster_run_id,
        )
        index = documents.publish(folder, sign_off, kept=options.kept)
    validation = Validation(of_ours, of_yours, absent, index)
    with database.connect("quality") as connection:
        evidence.record(connection, EVIDENCE, validation.to_evidence(), dagster_run_id=dagster_run_id or None)
    return validation


def _run(
    database: Database,
    snapshot_id: str,
    suites: Sequence[Suite],
    options: ValidationOptions,
    folder: Path,
    tell: Tell,
) -> tuple[SuiteOutcome, ...]:
    """Every suite is read by Great Expectations before the first is run."""
    made = []
    with session(database, snapshot_id, Options(folder, options.sample, options.statement_timeout_seconds)) as opened:
        for suite in suites:
            as_expectations(suite, options.sample)
        for suite in suites:
            outcome = opened.validate(suite)
            tell(
                f"{suite.name}: {len(outcome.outcomes)} expectations, {len(outcome.failed)} not met, {outcome.seconds:.1f} s"
            )
            made.append(outcome)
    return tuple(made)


def _columns(connection: Connection, schema: str, tables: list[str]) -> Columns:
    rows = connection.execute(text_of("quality/tables"), {"schema": schema, "tables": tables}).fetchall()
    return {name: {row["column"] for row in rows if row["table"] == name} for name in {row["table"] for row in rows}}


def _refuse_without_store(connection: Connection) -> None:
    if not _columns(connection, "migration", ["evidence"]):
        raise PreconditionError(
            "There is no evidence store in this database yet, so that a validation could not be kept. Materialize "
            "evidence_store first."
        )


def _refuse_missing_tables(connection: Connection, yours: Sequence[Suite]) -> None:
    for suite in yours:
        if not _columns(connection, suite.schema, [suite.table]):
            raise PreconditionError(
                f"The suite {suite.file} cannot be used: there is no table {suite.schema}.{suite.table}. "
                "Correct the file, then validate again."
            )


def _refuse_taken_names(yours: Sequence[Suite]) -> None:
    """A suite is known by its name in the documents; the project's are taken."""
    for suite in yours:
        if suite.name in {blueprint.name for blueprint in BLUEPRINTS}:
            raise PreconditionError(
                f"The suite {suite.file} cannot be used: {suite.name} is the name of a suite of the project. Give the "
                "file another name, then validate again."
            )
