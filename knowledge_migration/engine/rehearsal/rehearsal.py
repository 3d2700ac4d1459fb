"""The staging rehearsal (strategy §2.3): the whole path and every way back on a clone, a forecast, and the plan it binds.

Production refuses to run another plan than the one that was rehearsed, unless told with a reason, which is audited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.rehearsal import drill as drills
from knowledge_migration.engine.rehearsal.drill import Drill, DrillOptions, run_drill
from knowledge_migration.engine.rehearsal.plan import Plan
from knowledge_migration.engine.rehearsal.staging_run import Tell, Timed
from knowledge_migration.knowledge.audit import AuditAction

EVIDENCE = "staging_rehearsal"
NAMED = 8


@dataclass(frozen=True)
class Forecast:
    """How long a phase took on the clone, and what it will take in production at the configured rate."""

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
    """What was rehearsed, with what result, and what production will take."""

    plan: Plan
    drill: Drill
    forecasts: tuple[Forecast, ...]

    @property
    def seconds_in_production(self) -> float:
        """Of all phases, without the bake times of the cutover."""
        return sum(one.seconds_in_production for one in self.forecasts)

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON; the parts of the plan are kept, so that what differs later can be named."""
        return {
            "plan": dict(self.plan.parts),
            "forecasts": [one.as_row() for one in self.forecasts],
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
    tell: Tell = lambda _: None,
    dagster_run_id: str | None = None,
) -> Rehearsal:
    """Rehearses and records, as a rehearsal and as a drill. Raises what `run_drill` raises; nothing is recorded then."""
    drill = run_drill(database, options, tell=tell)
    rows_per_second = batch_size * rate_limit_per_second
    done = Rehearsal(plan, drill, tuple(_forecast(timed, rows_per_second) for timed in drill.phases))
    with database.connect("rehearsal evidence") as connection:
        evidence.record(connection, EVIDENCE, done.to_evidence(), plan_hash=plan.hash, dagster_run_id=dagster_run_id)
    drills.record(database, drill, plan_hash=plan.hash, dagster_run_id=dagster_run_id)
    return done


def _forecast(timed: Timed, rows_per_second: float) -> Forecast:
    """The rate limit holds for the backfill alone; unlimited, production is taken to be as fast as the clone."""
    limited = timed.rows / rows_per_second if timed.phase == "backfill" and rows_per_second else 0.0
    return Forecast(timed.phase, timed.rows, timed.seconds, timed.seconds_per_thousand, max(timed.seconds, limited))


def require_rehearsed(
    database: Database, plan: Plan, phase: str, *, skip_rehearsal_reason: str | None, dagster_run_id: str | None = None
) -> None:
    """Raises `PreconditionError` unless exactly this plan was rehearsed, and went well; with a reason it is audited instead.

    Without a verified backup it raises in either case.
    """
    with database.connect("rehearsal") as connection:
        evidence.require(connection, "verified_backup", made_by="asset verified_backup")  # a clone is made from it
        missing = _missing(connection, plan)
        if missing is None:
            return
        if not skip_rehearsal_reason:
            raise PreconditionError(
                f"{missing} Rehearse (asset staging_rehearsal, or knowledge-migration rehearse) before {phase}. To go on "
                "without, give the reason in KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON; it goes to the audit log."
            )
        audit.record(
            connection,
            AuditAction.OVERRIDE_REHEARSAL,
            phase,
            reason=skip_rehearsal_reason,
            after={"missing": missing, "plan_hash": plan.hash},
            dagster_run_id=dagster_run_id,
        )


def _missing(connection: Connection, plan: Plan) -> str | None:
    """Why this plan does not count as rehearsed, in words; None if it does."""
    found = evidence.latest(connection, EVIDENCE)
    if found is None:
        return "Nothing was rehearsed on a clone of this database yet."
    rehearsed: Mapping[str, str] = found.content["plan"]
    differing = plan.differing(rehearsed)
    if differing:
        shown = ", ".join(differing[:NAMED]) + (f" and {len(differing) - NAMED} more" if len(differing) > NAMED else "")
        return (
            f"This is not the plan that was rehearsed at {found.recorded_at:%Y-%m-%d %H:%M} UTC; what differs: {shown}."
        )
    if not found.content["well"]:
        wrong = ", ".join(path["path"] for path in found.content["paths"] if not path["well"])
        return f"The rehearsal of {found.recorded_at:%Y-%m-%d %H:%M} UTC did not go well: {wrong}."
    return None
