"""The staging rehearsal (strategy §2.3): all phases and every rollback on a clone, a forecast, and the plan that it binds.

Production refuses to run another plan than the rehearsed one, unless a reason is given, which is audited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.requirement import Requirement
from knowledge_migration.engine.rehearsal import drill as drills
from knowledge_migration.engine.rehearsal.drill import Drill, DrillOptions, run_drill
from knowledge_migration.engine.rehearsal.plan import Plan
from knowledge_migration.engine.rehearsal.staging_run import Progress, TimedPhase
from knowledge_migration.knowledge.audit import AuditAction

EVIDENCE = "staging_rehearsal"
NAMED = 8


@dataclass(frozen=True)
class Forecast:
    """The seconds of a phase on the clone, and in production at the configured rate."""

    phase: str
    rows: int
    seconds_on_clone: float
    seconds_per_thousand: float | None
    seconds_in_production: float

    def as_row(self) -> dict[str, Any]:
        """For tables and evidence."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Rehearsal:
    """The rehearsed plan, the drill, and the forecast for production."""

    plan: Plan
    drill: Drill
    forecasts: tuple[Forecast, ...]

    @property
    def seconds_in_production(self) -> float:
        """Of all phases, without the bake times of the cutover."""
        return sum(forecast.seconds_in_production for forecast in self.forecasts)

    def to_evidence(self) -> dict[str, Any]:
        """The rehearsal as JSON, with the parts of the plan, so that later differences can be named."""
        return {
            "plan": dict(self.plan.parts),
            "forecasts": [forecast.as_row() for forecast in self.forecasts],
            "seconds_in_production": round(self.seconds_in_production, 1),
            **self.drill.to_evidence(),
        }


def rehearse(
    database: Database,
    options: DrillOptions,
    plan: Plan,
    *,
    batch_size: int,
    rate_limit_per_second: float,
    progress: Progress = lambda _: None,
    dagster_run_id: str | None = None,
) -> Rehearsal:
    """Rehearses and records a rehearsal and a drill. Raises the errors of `run_drill`; nothing is recorded then."""
    drill = run_drill(database, options, progress=progress)
    rows_per_second = batch_size * rate_limit_per_second
    done = Rehearsal(plan, drill, tuple(_forecast(phase, rows_per_second, drill.share) for phase in drill.phases))
    with database.connect("rehearsal evidence") as connection:
        evidence.record(connection, EVIDENCE, done.to_evidence(), plan_hash=plan.hash, dagster_run_id=dagster_run_id)
    drills.record(database, drill, plan_hash=plan.hash, dagster_run_id=dagster_run_id)
    return done


def _forecast(timed: TimedPhase, rows_per_second: float, share: float) -> Forecast:
    """Production takes longer than a clone with a `share` of its rows, in proportion.

    A fixed rate applies to the backfill only; without one, production is assumed to be as fast as the clone.
    """
    rows = round(timed.rows / share)
    limited = rows / rows_per_second if timed.phase == "backfill" and rows_per_second else 0.0
    return Forecast(timed.phase, rows, timed.seconds, timed.seconds_per_thousand, max(timed.seconds / share, limited))


def require_rehearsed(
    database: Database, plan: Plan, phase: str, *, skip_rehearsal_reason: str | None, dagster_run_id: str | None = None
) -> None:
    """Raises `PreconditionError` unless exactly this plan passed a rehearsal; with a reason this is audited instead.

    Without a verified backup it raises in either case.
    """
    with database.connect("rehearsal") as connection:
        evidence.require(connection, "verified_backup", made_by="asset verified_backup")  # a clone is made from it
        missing = _missing(connection, plan)
        if missing is None:
            return
        if not skip_rehearsal_reason:
            raise PreconditionError(
                f"{missing} Rehearse (asset staging_rehearsal, or knowledge-migration rehearse) before {phase}. To continue "
                "without, give the reason in KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON; it is recorded in the audit log."
            )
        audit.record(
            connection,
            AuditAction.OVERRIDE_REHEARSAL,
            phase,
            reason=skip_rehearsal_reason,
            after={"missing": missing, "plan_hash": plan.hash},
            dagster_run_id=dagster_run_id,
        )


def rehearsal_requirement(database: Database, plan: Plan, *, skip_rehearsal_reason: str | None) -> Requirement:
    """Whether this plan was rehearsed, or a reason says why not; reads only."""
    with database.connect("rehearsal") as connection:
        missing = _missing(connection, plan)
    if missing and skip_rehearsal_reason:
        message = f"{missing} KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON says: {skip_rehearsal_reason}"
        return Requirement("rehearsal", True, message, needed="of exactly this plan")
    remedy = (
        "Run the job phase_0_preparation (asset staging_rehearsal), or give the reason in "
        "KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON; it is recorded in the audit log."
    )
    return Requirement(
        "rehearsal", missing is None, missing or "this plan was rehearsed.", remedy, needed="of exactly this plan"
    )


def _missing(connection: Connection, plan: Plan) -> str | None:
    """Why this plan does not count as rehearsed; None if it does."""
    rehearsal = evidence.latest(connection, EVIDENCE)
    if rehearsal is None:
        return "Nothing was rehearsed on a clone of this database yet."
    rehearsed: Mapping[str, str] = rehearsal.content["plan"]
    differing = plan.differing(rehearsed)
    if differing:
        shown = ", ".join(differing[:NAMED]) + (f" and {len(differing) - NAMED} more" if len(differing) > NAMED else "")
        return f"This is not the plan that was rehearsed at {rehearsal.recorded_at:%Y-%m-%d %H:%M} UTC; differences: {shown}."
    if not rehearsal.content["passed"]:
        failed = ", ".join(path["path"] for path in rehearsal.content["paths"] if not path["passed"])
        return f"The rehearsal of {rehearsal.recorded_at:%Y-%m-%d %H:%M} UTC failed: {failed}."
    return None
