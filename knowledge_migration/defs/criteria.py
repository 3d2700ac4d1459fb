"""The criteria of the strategy: every checkbox (§11.1 and the validation lists of all phases), judged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.recorded_checks import recorded_checks
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation.criteria.checklist import SECTIONS
from knowledge_migration.engine.validation.criteria.evaluation import evaluate, record
from knowledge_migration.engine.validation.criteria.facts import Facts, Judged, Verdict

CHECKS_ASKED: tuple[dg.AssetCheckKey, ...] = (
    dg.AssetCheckKey(dg.AssetKey("proposal_schema"), "extraction_still_works"),
    *(
        dg.AssetCheckKey(dg.AssetKey("dual_write_mode"), name)
        for name in (
            "every_new_topic_has_a_proposal",
            "every_new_atom_has_a_proposal",
            "extractions_have_their_proposals",
            "dual_write_is_not_slow",
        )
    ),
)
"""The asset checks whose latest evaluation is evidence for a criterion."""


def check_name(section: str) -> str:
    """The name of the check of one section: §11.1 Data integrity is `data_integrity_criteria_are_met`."""
    return f"{section.partition(' ')[2].lower().replace(' ', '_')}_criteria_are_met"


@contextmanager
def criteria_facts(migration: Migration, instance: dg.DagsterInstance) -> Iterator[Facts]:
    """The facts that criteria are judged by, over a session without a statement timeout."""
    settings = migration.settings
    with migration.database.connect("criteria", settings={"statement_timeout": "0"}) as connection:
        yield Facts(
            database=migration.database,
            connection=connection,
            settings=settings,
            checks={one.name: one for one in recorded_checks(instance, CHECKS_ASKED)},
            service=migration.installation.service_address if settings.service.url else None,
        )


@dg.asset(
    group_name="operations",
    deps=["backfill_completion", "cutover_stage"],
    check_specs=[
        dg.AssetCheckSpec(
            check_name(section), asset="success_criteria", description=f"Every criterion of {section} is met."
        )
        for section in SECTIONS
    ],
    kinds={"postgres"},
)
def success_criteria(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """Every checkbox of the strategy with its evidence: met, not met, no evidence yet, or for a person.

    Read-only; also queries the service at KNOWLEDGE_SERVICE_URL. `knowledge-migration criteria confirm` records the
    confirmation of a person. A criterion without data is never met.
    """
    with reporting.as_dagster_failure(), criteria_facts(migration, context.instance) as facts:
        judged = evaluate(facts)
        record(facts.connection, judged, dagster_run_id=context.run.run_id)
    counts = {verdict: sum(one.judgement.verdict == verdict for one in judged) for verdict in get_args(Verdict)}
    return dg.MaterializeResult(
        metadata={
            "criteria": reporting.rows_table([one.as_row() for one in judged]),
            "plot": reporting.picture(
                plots.verdicts_by_section([one.as_row() for one in judged]), "verdicts by section"
            ),
            **{verdict.replace(" ", "_"): count for verdict, count in counts.items()},
        },
        check_results=[_result(section, judged) for section in SECTIONS],
    )


def _result(section: str, judged: list[Judged]) -> dg.AssetCheckResult:
    """ERROR if a criterion is not met; WARN if one has no evidence yet or is for a person."""
    rows = [one for one in judged if one.criterion.section == section]
    open_rows = [one for one in rows if one.judgement.verdict != "met"]
    failed = any(one.judgement.verdict == "not met" for one in open_rows)
    verdicts = "; ".join(f"{one.criterion.text}: {one.judgement.verdict}" for one in open_rows) or "All are met."
    return dg.AssetCheckResult(
        check_name=check_name(section),
        asset_key="success_criteria",
        passed=not open_rows,
        severity=reporting.severity(warns=not failed),
        description=f"{section}: {len(rows) - len(open_rows)} of {len(rows)} criteria are met. {verdicts}",
        metadata={"criteria": reporting.rows_table([one.as_row() for one in rows])},
    )


job = dg.define_asset_job(
    "validation_criteria",
    selection=dg.AssetSelection.assets(success_criteria),
    description="Every checkbox of the strategy, judged now. Read-only.",
)

ASSETS = [success_criteria]
CHECKS: list[dg.AssetChecksDefinition] = []
JOBS = [job]
SCHEDULES: list[dg.ScheduleDefinition] = []
