"""Phase 2, dual write (strategy §4): the flags, the verified switch, the probe, and the checks while it is on."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.dual_write import captured, fence, switch
from knowledge_migration.engine.validation import rules
from knowledge_migration.engine.validation.dual_write_probe import probe
from knowledge_migration.engine.validation.service import health

GROUP = "phase_2_dual_write"


@dg.asset(
    group_name="phase_1_schema",
    deps=["proposal_schema"],
    kinds={"postgres"},
    check_specs=[guards.spec("feature_flag_store")],
)
def feature_flag_store(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The feature flags in the database, with the strategy's environment variables as their initial values.

    Changes no flag that is set already. Every process of the service applies a change within a second, without a restart.
    Change them with `knowledge-migration flags set`. Undo: job `rollback_schema`.
    """
    yield from guards.guarded(migration, "feature_flag_store")
    with reporting.as_dagster_failure():
        flags = switch.store_flags(
            migration.database, migration.installation.initial_flags, dagster_run_id=context.run.run_id
        )
    yield dg.MaterializeResult(
        metadata={"version": flags.version, "state": flags.state, "flags": reporting.rows_table([flags.values])}
    )


@dg.asset(group_name=GROUP, deps=[feature_flag_store], kinds={"postgres"}, check_specs=[guards.spec("dual_write_mode")])
def dual_write_mode(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Dual write, switched on and verified: from then on every extraction that writes knowledge also writes its proposals.

    Waits until every live process of the service acknowledges it and every older transaction has ended. If a process is
    missing, the failure names it, and the flags stay set. Where a session that is not the service writes, triggers on topics,
    atoms and their relations capture its rows (setting DUAL_WRITE_CAPTURE). Undo: job `rollback_dual_write` (target < 1 min for
    10k rows).
    """
    yield from guards.guarded(migration, "dual_write_mode")
    with reporting.as_dagster_failure():
        flags, proven = switch.switch_on(
            migration.database,
            migration.installation.initial_flags,
            migration.settings.fence,
            reason="phase 2: dual write",
            mode=migration.settings.dual_write.capture,
            schema_change=migration.settings.schema_change,
            dagster_run_id=context.run.run_id,
        )
    yield dg.MaterializeResult(
        metadata={
            "flag_version": flags.version,
            "state": flags.state,
            "capture": proven.capture,
            "proven_at": proven.proven_at.isoformat(sep=" ", timespec="milliseconds"),
            "seconds_until_proven": proven.seconds,
            "live_writers": reporting.rows_table([{"process": one} for one in proven.writers]),
        }
    )


@dg.asset(group_name=GROUP, deps=[dual_write_mode], kinds={"postgres"}, check_specs=[guards.spec("dual_write_probe")])
def dual_write_probe(migration: Migration) -> Iterator[Any]:
    """A real extraction through the service's API, verified in both tables and then deleted.

    Writes one synthetic message and the extracted rows, and deletes all of them. Where the capture is installed, it also writes
    rows as an application does and rolls them back; without a live service, only that.
    """
    yield from guards.guarded(migration, "dual_write_probe")
    with reporting.as_dagster_failure():
        captures = fence.proven_fence(migration.database).capture == "database"
        probed: dict[str, Any] = dict(captured.probe(migration.database)) if captures else {}
        if not captures or migration.installation.known_service_address:
            address = migration.installation.service_address
            probed |= vars(probe(migration.database, address, expect=("dual_write",)))
    yield dg.MaterializeResult(metadata=reporting.plain(probed))


@dg.multi_asset_check(
    name="dual_write_consistency",
    can_subset=True,
    specs=[
        dg.AssetCheckSpec(rule.name, asset="dual_write_mode", blocking=True, description=rule.description)
        for rule in rules.DUAL_WRITE_RULES
    ],
)
def dual_write_checks(context: dg.AssetCheckExecutionContext, migration: Migration) -> Iterator[dg.AssetCheckResult]:
    """Everything written since the fence has its proposal, value for value. Reads only."""
    sample = migration.settings.validation.rules_sample
    selected = {key.name for key in context.selected_asset_check_keys}
    with reporting.as_dagster_failure(), migration.database.connect("dual write checks") as connection:
        for outcome in rules.dual_write_outcomes(migration.database, connection, sample=sample):
            if outcome.name in selected:
                yield migration.check_result(outcome, asset="dual_write_mode")


@dg.asset_check(asset=dual_write_mode, blocking=True)
def every_live_writer_dual_writes(migration: Migration) -> dg.AssetCheckResult:
    """At least one process of the service is alive, and every live process writes proposals with all knowledge."""
    with reporting.as_dagster_failure(), migration.database.connect("writers check") as connection:
        outcome = fence.writers_outcome(
            connection,
            migration.settings.fence.live_seconds,
            need_one=not migration.settings.dual_write.no_live_writers,
        )
    return migration.check_result(outcome, asset="dual_write_mode")


@dg.asset_check(asset=dual_write_mode, blocking=True)
def dual_write_is_not_slow(migration: Migration) -> dg.AssetCheckResult:
    """Dual write slows an extraction by less than the limit, measured interleaved with direct mode and rolled back."""
    from knowledge_migration.engine.validation import dual_write_overhead

    settings = migration.settings
    with reporting.as_dagster_failure():
        measured = dual_write_overhead.measure_within(
            migration.database,
            migration.installation.extractor,
            migration.installation.service_options(),
            pairs=settings.dual_write.measured_pairs,
            limit_percent=settings.dual_write.max_slowdown_percent,
        )
    outcome = dual_write_overhead.overhead_outcome(measured, settings.dual_write.max_slowdown_percent)
    return migration.check_result(outcome, asset="dual_write_mode")


@dg.asset_check(asset="proposal_schema")
def extraction_still_works(migration: Migration) -> dg.AssetCheckResult:
    """The service is healthy and an extraction through its API succeeds after the schema change (strategy §3.2)."""
    address = migration.installation.known_service_address
    if address is None:
        return _extraction_worked(migration, "Not evaluated: no live process of the service is known.", warns=True)
    with reporting.as_dagster_failure():
        answer = health(address)
        result = probe(migration.database, address, expect=("direct", "dual_write", "proposal"))
    message = f"The service answers, and an extraction in {result.mode.replace('_', ' ')} mode succeeded."
    return _extraction_worked(migration, message, health=answer, **vars(result))


def _extraction_worked(
    migration: Migration, message: str, *, warns: bool = False, **metadata: Any
) -> dg.AssetCheckResult:
    (result,) = migration.recorded(
        "proposal_schema",
        dg.AssetCheckResult(
            check_name="extraction_still_works",
            passed=not warns,
            severity=reporting.severity(warns=warns),
            description=message,
            metadata=reporting.plain(metadata),
        ),
    )
    return result


job = dg.define_asset_job(
    "phase_2_dual_write",
    # the flags belong to phase 1, which may have been interrupted before it stored them
    selection=dg.AssetSelection.groups(GROUP) | dg.AssetSelection.assets(feature_flag_store, "performance_comparison"),
    description="Switches dual write on, verifies and probes it; compares performance afterwards. Undo: rollback_dual_write.",
)
