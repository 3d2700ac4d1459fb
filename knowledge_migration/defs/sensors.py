"""What watches while nobody looks: promotion, the rollback guard, stragglers, automatic approval (strategy §6, §8.1).

Each tick asks the database anew, so a restart of the daemon forgets nothing; a cursor only keeps the UI from being told the
same verdict twice. Ticks are short: their queries are bounded, and what takes long is a run.
"""

import json
from collections.abc import Iterable

import dagster as dg
import psycopg
import sqlalchemy as sa

from knowledge_migration.defs import backfill, cutover
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.backfill.completion import stragglers
from knowledge_migration.engine.cutover.evaluation import Evaluation, needed_for
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.rollback.guard import guard
from knowledge_migration.knowledge.flags import read_flags
from knowledge_migration.thresholds import Stage

STAGE_TAG, VERSION_TAG = "knowledge_migration/stage", "knowledge_migration/flag_version"
NOT_THERE = (psycopg.Error, sa.exc.DBAPIError)
"""Before phase 1 the tables are missing, and a database may be away: the tick says so, and the next one looks again."""

ATTEMPTS = 3
APPROVED_AT_ONCE = 500


@dg.sensor(job=cutover.job, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def cutover_promotion(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Evaluates the gates, and says what is missing for the next stage; starts it only if automatic promotion is on.

    CUTOVER_AUTOMATIC_PROMOTION=true switches that on. A stage is tried three times, then it waits for a person.
    """
    try:
        standing = read_cutover_state(migration.database)
        stage = standing.next_stage
        if stage is None:
            return dg.SensorResult(skip_reason=f"The flags stand at {standing.state}: there is no stage to promote to.")
        ready = cutover.stage_readiness(migration, context.instance, stage, ages_matter=False)
    except (MigrationError, *NOT_THERE) as error:
        return dg.SensorResult(skip_reason=f"The cutover cannot be judged: {error}")
    events, cursor = _news(ready.evaluations, _needed(migration, stage), context.cursor)
    if ready.missing:
        told = "\n".join(f"{number}. {one.sentence}" for number, one in enumerate(ready.missing, start=1))
        words = f"{stage} is not proven; missing are {len(ready.missing)} of {len(ready.requirements)}:\n{told}"
        return dg.SensorResult(skip_reason=words, asset_events=events, cursor=cursor)
    if not migration.settings.cutover.automatic_promotion:
        words = f"Everything holds for {stage}. Launch {cutover.JOB} with the partition {stage} to promote."
        return dg.SensorResult(skip_reason=words, asset_events=events, cursor=cursor)
    version = ready.state.flags.version
    tags = {STAGE_TAG: stage, VERSION_TAG: str(version)}
    attempt = len(context.instance.get_run_records(dg.RunsFilter(job_name=cutover.JOB, tags=tags))) + 1
    if attempt > ATTEMPTS:
        words = f"{stage} was tried {ATTEMPTS} times and not reached. Look at the runs of {cutover.JOB}, then launch it yourself."
        return dg.SensorResult(skip_reason=words, asset_events=events, cursor=cursor)
    request = dg.RunRequest(
        run_key=f"cutover-{stage}-{version}-{attempt}", job_name=cutover.JOB, partition_key=stage, tags=tags
    )
    return dg.SensorResult(run_requests=[request], asset_events=events, cursor=cursor)


@dg.sensor(
    asset_selection=dg.AssetSelection.assets(cutover.cutover_gates),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def rollback_guard(migration: Migration) -> dg.SensorResult:
    """Goes back by itself when a metric is in breach (strategy §8.1), in this tick, without waiting for a run.

    Errors above 5 % or an inconsistency: proposals off, dual write on. More than 50 % slower: a tenth of the users. A queue
    above 1,000: a lower threshold of automatic approval, within its floor.
    """
    try:
        tick = guard(
            migration.database,
            migration.installation.initial_flags,
            migration.settings,
            now=migration.now(),
        )
    except (MigrationError, *NOT_THERE) as error:
        return dg.SensorResult(skip_reason=f"The guard cannot judge: {error}")
    return dg.SensorResult(skip_reason=" ".join(filter(None, (tick.message, tick.problem))))


@dg.sensor(job=backfill.completion_job, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.RUNNING)
def backfill_stragglers(migration: Migration) -> dg.SensorResult:
    """Starts the final sweep when rows without a proposal appear after the backfill: an old writer still works somewhere."""
    minutes = migration.settings.dual_write.straggler_minutes
    try:
        with migration.database.connect("stragglers", settings={"statement_timeout": "30000"}) as connection:
            found = stragglers(connection, minutes=minutes)
    except (MigrationError, *NOT_THERE) as error:
        return dg.SensorResult(skip_reason=f"Stragglers cannot be looked for: {error}")
    if found is None:
        return dg.SensorResult(skip_reason="The backfill is not completed; it links every row itself.")
    if not found.total:
        return dg.SensorResult(skip_reason=f"No row has been without a proposal for {minutes:g} minutes.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"stragglers-{found.key}")])


@dg.sensor(
    asset_selection=dg.AssetSelection.assets(cutover.cutover_stage),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def auto_approval(migration: Migration) -> dg.SensorResult:
    """Approves pending proposals that have become eligible, a threshold that was lowered say; each in its own transaction."""
    from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible, eligible

    try:
        with migration.database.begin() as transaction:
            flags = read_flags(transaction)
            found = eligible(transaction, flags, APPROVED_AT_ONCE) if flags and flags.enabled else []
        if flags is None or not flags.enabled:
            return dg.SensorResult(skip_reason="Proposals are off.")
        if not found:
            return dg.SensorResult(skip_reason="No pending proposal may be approved without a reviewer.")
        with migration.database.engine() as engine:
            approved = approve_all_eligible(engine, flags, found)
    except (MigrationError, *NOT_THERE) as error:
        return dg.SensorResult(skip_reason=f"Nothing can be approved: {error}")
    return dg.SensorResult(skip_reason=f"Approved {approved:,} of {len(found):,} eligible proposals.")


def _needed(migration: Migration, stage: Stage | None) -> set[str]:
    return {gate.metric for gate in needed_for(migration.settings.cutover.gates, stage)} if stage else set()


def _news(
    judged: Iterable[Evaluation], needed: set[str], cursor: str | None
) -> tuple[list[dg.AssetCheckEvaluation], str]:
    """The verdicts that differ from those that the UI was told last, as evaluations of their checks."""
    told: dict[str, str] = json.loads(cursor) if cursor else {}
    events = []
    for one in judged:
        now = f"{one.verdict}, {'holds' if one.met else 'does not hold'}"
        if told.get(one.gate.metric) != now:
            told[one.gate.metric] = now
            result = cutover.gate_result(one, needed=one.gate.metric in needed)
            events.append(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey("cutover_gates"),
                    check_name=one.gate.metric,
                    passed=result.passed,
                    severity=result.severity,
                    description=result.description,
                    metadata=result.metadata,
                )
            )
    return events, json.dumps(told)


SENSORS = [cutover_promotion, rollback_guard, backfill_stragglers, auto_approval]
