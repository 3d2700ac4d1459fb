"""Phase 3 as a whole: the plan as evidence."""

from dataclasses import asdict, dataclass

from knowledge_migration.engine.backfill.dry_run import Forecast, dry_run
from knowledge_migration.engine.backfill.plan import EntityPlan, Partition, make_plan
from knowledge_migration.engine.dual_write.fence import require_fence
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityName
from knowledge_migration.settings import BackfillSettings

EVIDENCE = "backfill_plan"


@dataclass(frozen=True)
class Planned:
    """The plan of both tables, and a forecast per table when a dry run was asked for."""

    plans: dict[str, EntityPlan]
    forecasts: tuple[Forecast, ...]


def plan_backfill(
    database: Database,
    limits: BackfillSettings,
    *,
    width_ids: int,
    max_partitions: int,
    sample_batches: int = 0,
    no_live_writers: bool,
    live_seconds: float,
    dagster_run_id: str | None = None,
) -> Planned:
    """Fixes bounds and partitions and keeps them as evidence; with `sample_batches` tries that many and takes them back.

    Raises `PreconditionError` when the schema is not as phase 1 leaves it, a data quality finding blocks, or somebody may
    still write directly: the bound would mean nothing then (phase 2, or the operator's word `no_live_writers`).
    """
    differences = proposal_differences(database)
    if differences:
        raise PreconditionError(
            f"The schema is not as phase 1 leaves it ({len(differences)} differences, first: {differences[0].object} is "
            f"{differences[0].found}). Run phase 1 (job phase_1_schema), then plan again."
        )
    require_fence(database, no_live_writers=no_live_writers, live_seconds=live_seconds, dagster_run_id=dagster_run_id)
    with database.connect("backfill plan") as connection:
        _refuse_blocking_findings(connection)
        plans = make_plan(connection, width_ids=width_ids, max_partitions=max_partitions)
        forecasts = dry_run(database, plans, limits, sample_batches=sample_batches) if sample_batches else ()
        content = {name: plan.to_evidence() for name, plan in plans.items()}
        content["forecast"] = {forecast.table: asdict(forecast) for forecast in forecasts}
        evidence.record(connection, EVIDENCE, content, dagster_run_id=dagster_run_id)
    return Planned(plans, forecasts)


def _refuse_blocking_findings(connection: Connection) -> None:
    outcome = blocking_findings_outcome(connection)
    if not outcome.passed:
        names = ", ".join(row["finding"] for row in outcome.sample)
        raise PreconditionError(f"The data quality report forbids the backfill ({names}). {outcome.remedy}")


def blocking_findings_outcome(connection: Connection) -> CheckOutcome:
    """Whether the latest data quality report lets the backfill begin."""
    report = evidence.require(connection, "data_quality", made_by="asset data_quality_report")
    blocking = [row for row in report.content["findings"] if row["effect"] == "blocks" and row["count"]]
    return CheckOutcome(
        name="no_finding_blocks_the_backfill",
        count=len(blocking),
        sample=tuple(blocking),
        description="No finding of the data quality report forbids the backfill.",
        remedy="Repair each finding as its own remedy says, materialize data_quality_report again, then go on.",
    )


def planned(connection: Connection) -> dict[str, EntityPlan]:
    """The latest plan; raises `PreconditionError` when there is none."""
    content = evidence.require(connection, EVIDENCE, made_by="asset backfill_plan").content
    return {kind.name: EntityPlan.from_evidence(kind.name, content[kind.name]) for kind in KINDS}


def planned_partition(connection: Connection, entity: EntityName, key: str) -> Partition:
    """The partition of a key in the latest plan; raises `PreconditionError` when the plan does not have it."""
    for partition in planned(connection)[entity].partitions:
        if partition.key == key:
            return partition
    raise PreconditionError(
        f"The latest plan has no {entity} partition {key}. Materialize backfill_plan, then the partitions it lists."
    )
