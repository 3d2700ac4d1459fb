"""Phase 3 as a whole: what the plan requires, and the plan as evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from knowledge_migration.engine.backfill.completion import Completion, complete
from knowledge_migration.engine.backfill.dry_run import Forecast, dry_run
from knowledge_migration.engine.backfill.plan import EVIDENCE, EntityPlan, blocking_findings_outcome, make_plan, planned
from knowledge_migration.engine.dual_write.fence import refuse_uncaptured, require_fence
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.catalog import require_proposal_schema
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.settings import BackfillSettings, FenceSettings


@dataclass(frozen=True)
class Planned:
    """The plan of both tables, and a forecast per table after a dry run."""

    plans: dict[str, EntityPlan]
    forecasts: tuple[Forecast, ...]


def plan_backfill(
    database: Database,
    limits: BackfillSettings,
    timeouts: FenceSettings,
    *,
    partition_rows: int,
    max_partitions: int,
    sample_batches: int = 0,
    no_live_writers: bool,
    dagster_run_id: str | None = None,
) -> Planned:
    """Fixes bounds and partitions and records them as evidence; tries `sample_batches` batches and rolls them back.

    Raises `PreconditionError` when the schema is not as phase 1 leaves it, a data quality finding blocks, or a writer may
    still write directly, so that the bound has no meaning (run phase 2, or the operator confirms `no_live_writers`).
    """
    require_proposal_schema(database)
    require_fence(database, timeouts, no_live_writers=no_live_writers, dagster_run_id=dagster_run_id)
    with database.connect("backfill plan") as connection:
        outcome = blocking_findings_outcome(connection)
        if not outcome.passed:
            names = ", ".join(row["finding"] for row in outcome.sample)
            raise PreconditionError(f"The data quality report blocks the backfill ({names}). {outcome.remedy}")
        plans = make_plan(connection, partition_rows=partition_rows, max_partitions=max_partitions)
        forecasts = dry_run(database, plans, limits, sample_batches=sample_batches) if sample_batches else ()
        content = {name: plan.to_evidence() for name, plan in plans.items()}
        content["forecast"] = {forecast.table: asdict(forecast) for forecast in forecasts}
        evidence.record(connection, EVIDENCE, content, dagster_run_id=dagster_run_id)
    return Planned(plans, forecasts)


def complete_backfill(
    database: Database,
    limits: BackfillSettings,
    timeouts: FenceSettings,
    *,
    no_live_writers: bool,
    reports: Mapping[str, Any],
) -> Completion:
    """Completes the backfill, then proves the fence again: a writer whose rows have no proposal makes it incomplete again.

    Raises `PreconditionError` naming such writers, where dual write has been off since it was proven, or where rows were written
    since the plan although `no_live_writers`.
    """
    if no_live_writers:
        with database.connect("backfill completion") as connection:
            _refuse_rows_since(connection, planned(connection))
    completed = complete(database, limits, max_passes=limits.sweep_passes, **reports)
    if no_live_writers:
        refuse_uncaptured(database, timeouts, new_only=False)
    else:
        require_fence(database, timeouts, no_live_writers=False)
    return completed


def _refuse_rows_since(connection: Connection, plans: Mapping[str, EntityPlan]) -> None:
    above = []
    for kind in KINDS:
        bounds = connection.execute(statement("backfill/id_bounds", table=f"public.{kind.table}")).fetchone()
        if bounds and (bounds["last_id"] or 0) > plans[kind.name].upper_id:
            above.append(f"{kind.table} up to id {bounds['last_id']} (planned up to {plans[kind.name].upper_id})")
    if above:
        raise PreconditionError(
            f"KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set, but rows were written since the plan: {', '.join(above)}. Unset it and "
            "run phase 2, which captures every writer; or stop the writers and materialize backfill_plan again."
        )
