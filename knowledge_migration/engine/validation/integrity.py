"""The integrity that a promotion requires (strategy §6, §9.1): the blocking rules, the declared schema, the live writers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from knowledge_migration.engine.dual_write import fence
from knowledge_migration.engine.foundation import audit, check_record, legacy_rows
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.schema.phase import schema_outcome
from knowledge_migration.engine.validation import rules
from knowledge_migration.settings import Settings

WRITERS, SCHEMA = "every_live_writer_dual_writes", "schema_matches_the_declaration"
BLOCKING = tuple(rule for rule in rules.RULES if rule.severity == "error")

CHECKS: tuple[tuple[str, str], ...] = (
    *(("backfill_completion", rule.name) for rule in BLOCKING),
    *(("dual_write_mode", rule.name) for rule in rules.DUAL_WRITE_RULES),
    ("dual_write_mode", WRITERS),
    ("proposal_schema", SCHEMA),
    (legacy_rows.ASSET, legacy_rows.CHECK),
)
"""Asset and name of each check that must be recent and have passed for a promotion."""


@dataclass(frozen=True)
class Evaluated:
    """The outcome of a rule, and the asset whose check it is."""

    asset: str
    outcome: CheckOutcome

    def record(self, at: datetime) -> CheckRecord:
        """As the evaluation of a check."""
        return CheckRecord(self.outcome.name, self.outcome.passed, at, self.outcome.sentence, asset=self.asset)


def evaluate_integrity(
    database: Database,
    settings: Settings,
    *,
    dagster_run_id: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Evaluated, ...]:
    """Evaluates each rule of `CHECKS` now, records it, and seals the audit log; reads only, but for these records.

    Raises `PreconditionError` without a proven fence, and what a rule raises that cannot be evaluated.
    """
    sample = settings.validation.rules_sample
    evaluated: list[Evaluated] = []

    def add(asset: str, outcome: CheckOutcome) -> None:
        progress(outcome.name)
        evaluated.append(Evaluated(asset, outcome))

    since = fence.proven_fence(database).proven_at
    with database.connect("integrity") as connection:
        for rule in BLOCKING:
            add("backfill_completion", rules.evaluate(connection, rule, sample=sample))
        known = {one.outcome.name: one.outcome for one in evaluated}
        for rule in rules.DUAL_WRITE_RULES:
            outcome = known.get(rule.name) or rules.evaluate(connection, rule, sample=sample, since=since)
            add("dual_write_mode", outcome)
        add("dual_write_mode", fence.writers_outcome(connection, settings.fence.live_seconds))
        add("proposal_schema", schema_outcome(database, sample))
        add(legacy_rows.ASSET, legacy_rows.outcome(connection, settings.validation))
        now = database.now()
        records = [one.record(now) for one in evaluated]
        check_record.record(connection, records, dagster_run_id=dagster_run_id)
        if known["audit_log_is_unaltered"].passed:
            audit.seal(connection)
    return tuple(evaluated)


def recorded_integrity(database: Database) -> tuple[CheckRecord, ...]:
    """The latest evaluation of each check of `CHECKS` on this database; one that never ran has no time."""
    with database.connect("check records") as connection:
        known = {(one.asset, one.name): one for one in check_record.recorded(connection)}
    return tuple(known.get((asset, name)) or CheckRecord(name, False, None, asset=asset) for asset, name in CHECKS)
