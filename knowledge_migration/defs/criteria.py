"""Every checkbox of the strategy, judged (strategy §11.1 and the validation lists of all phases)."""

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
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.engine.validation.criteria.model import Judged, Verdict

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
"""The asset checks whose latest evaluation is the evidence of a criterion."""


def check_name(section: str) -> str:
    """The name of the check of one section: §11.1 Data integrity is `data_integrity_criteria_hold`."""
    return f"{section.partition(' ')[2].lower().replace(' ', '_')}_criteria_hold"


@contextmanager
def looking(migration: Migration, instance: dg.DagsterInstance) -> Iterator[Facts]:
    """Everything that criteria are judged by, with a session of its own that may take its time."""
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
        dg.AssetCheckSpec(check_name(section), asset="success_criteria", description=f"Every checkbox of {section}.")
        for section in SECTIONS
    ],
    kinds={"postgres"},
)
def success_criteria(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """Every checkbox of the strategy with its evidence: it holds, fails, is not shown yet, or waits for a person's word.

    Reads, and asks the live service if KNOWLEDGE_SERVICE_URL names one. `knowledge-migration criteria confirm` takes the
    word of a person. Nothing passes for lack of data.
    """
    with reporting.as_dagster_failure(), looking(migration, context.instance) as facts:
        judged = evaluate(facts)
        record(facts.connection, judged, dagster_run_id=context.run.run_id)
    counts = {verdict: sum(one.judgement.verdict == verdict for one in judged) for verdict in get_args(Verdict)}
    return dg.MaterializeResult(
        metadata={
            "criteria": reporting.rows_table([one.as_row() for one in judged]),
            "plot": reporting.picture(
                plots.verdicts_by_section([one.as_row() for one in judged]), "how many criteria of each section hold"
            ),
            **{verdict.replace(" ", "_"): count for verdict, count in counts.items()},
        },
        check_results=[_result(section, judged) for section in SECTIONS],
    )


def _result(section: str, judged: list[Judged]) -> dg.AssetCheckResult:
    """Fails where one fails; warns where one is not shown or waits for a person, which is no pass either."""
    rows = [one for one in judged if one.criterion.section == section]
    open_rows = [one for one in rows if one.judgement.verdict != "holds"]
    failed = any(one.judgement.verdict == "fails" for one in open_rows)
    words = "; ".join(f"{one.criterion.text}: {one.judgement.verdict}" for one in open_rows) or "All of them hold."
    return dg.AssetCheckResult(
        check_name=check_name(section),
        asset_key="success_criteria",
        passed=not open_rows,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description=f"{section}: {len(rows) - len(open_rows)} of {len(rows)} hold. {words}",
        metadata={"criteria": reporting.rows_table([one.as_row() for one in rows])},
    )


job = dg.define_asset_job(
    "validation_criteria",
    selection=dg.AssetSelection.assets(success_criteria),
    description="Every checkbox of the strategy, judged as things stand now. Reads only.",
)

ASSETS = [success_criteria]
CHECKS: list[dg.AssetChecksDefinition] = []
JOBS = [job]
SCHEDULES: list[dg.ScheduleDefinition] = []
