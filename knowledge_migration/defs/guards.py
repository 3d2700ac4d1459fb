"""The guards of every asset that writes: evaluated in the asset's own step, before its first write, however it is launched.

Each is yielded as the check `requirements_are_met` of that asset, with a table of what is required, observed and needed. Checks
on other assets are reports, never the guard.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.backfill.plan import blocking_findings_outcome, planned
from knowledge_migration.engine.cutover.readiness import backup_requirement
from knowledge_migration.engine.dual_write.fence import proven_fence, writers_outcome
from knowledge_migration.engine.foundation import legacy_rows
from knowledge_migration.engine.foundation.database import exists
from knowledge_migration.engine.foundation.requirement import Requirement, read_requirement, required
from knowledge_migration.engine.preparation import preflight
from knowledge_migration.engine.rehearsal.rehearsal import rehearsal_requirement
from knowledge_migration.engine.schema.phase import schema_outcome
from knowledge_migration.knowledge.flags import read_flags

CHECK = "requirements_are_met"
ALL_RIGHTS = 12
DESCRIPTION = "Everything that this asset depends on for safety, evaluated in its own step before it writes."

Guard = Callable[[Migration], Iterator[Requirement]]


def _preflight(migration: Migration) -> Iterator[Requirement]:
    """Version, privileges, extensions, schema, long transactions, disk, names."""
    with migration.installation.preflight() as context:
        for name, check in preflight.CHECKS.items():
            yield required(check(context), f"preflight, {name.replace('_', ' ')}", shown=ALL_RIGHTS)


def _evidence_store(migration: Migration) -> Iterator[Requirement]:
    """The place of the evidence."""
    with migration.database.connect("guard") as connection:
        met = exists(connection, "migration.evidence")
    message = "the schema migration is there." if met else "the schema migration does not exist."
    remedy = "Run the job phase_0_preparation (asset evidence_store)."
    yield Requirement("evidence store", met, message, remedy, needed="the schema migration")


def _backup(migration: Migration) -> Iterator[Requirement]:
    """A verified backup that is fresh."""
    with migration.database.connect("guard") as connection:
        yield backup_requirement(connection, migration.settings, migration.now())


def _rehearsal(migration: Migration) -> Iterator[Requirement]:
    """This plan was rehearsed, or a reason says why not."""
    reason = migration.settings.rehearsal.skip_reason
    yield rehearsal_requirement(migration.database, migration.installation.plan, skip_rehearsal_reason=reason)


def _schema(migration: Migration) -> Iterator[Requirement]:
    """The schema of phase 1, as declared."""
    yield read_requirement(
        "proposal schema",
        "every table, column, index and constraint as declared",
        lambda: required(
            schema_outcome(migration.database, migration.settings.validation.rules_sample), "proposal schema"
        ),
    )


def _flags(migration: Migration) -> Iterator[Requirement]:
    """The flags are stored."""

    def read() -> Requirement:
        with migration.database.begin() as transaction:
            flags = read_flags(transaction)
        message = f"version {flags.version}, {flags.state}." if flags else "they are not stored."
        remedy = "Run the job phase_2_dual_write (asset feature_flag_store)."
        return Requirement("feature flags", flags is not None, message, remedy, needed="stored in the database")

    yield read_requirement("feature flags", "stored in the database", read)


def _no_blocking_finding(migration: Migration) -> Iterator[Requirement]:
    """The data quality report lets the backfill start."""
    with migration.database.connect("guard") as connection:
        yield read_requirement(
            "data quality",
            "no finding that blocks the backfill",
            lambda: required(blocking_findings_outcome(connection), "data quality"),
        )


def _dual_write(migration: Migration) -> Iterator[Requirement]:
    """Dual write is proven and every live writer dual-writes, or the operator confirmed that nobody writes."""
    settings = migration.settings
    if settings.dual_write.no_live_writers:
        message = "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS confirms that no process writes."
        yield Requirement("dual write", True, message, needed="proven, and on since then")
        return

    def read() -> str:
        return f"proven at {proven_fence(migration.database).proven_at:%Y-%m-%d %H:%M} UTC and on since then."

    yield read_requirement("dual write", "proven, and on since then", read)
    with migration.database.connect("guard") as connection:
        yield read_requirement(
            "live processes",
            "at least one, and none that writes directly",
            lambda: required(writers_outcome(connection, settings.fence.live_seconds), "live processes"),
        )


def _legacy_rows(migration: Migration) -> Iterator[Requirement]:
    """No row of the fingerprint is lost or was altered past the application."""
    with migration.database.connect("guard") as connection:
        yield read_requirement(
            "legacy rows",
            "those of the fingerprint, unless users wrote or deleted them",
            lambda: required(legacy_rows.outcome(connection, migration.settings.validation), "legacy rows"),
        )


def _plan(migration: Migration) -> Iterator[Requirement]:
    """The id ranges are planned."""
    with migration.database.connect("guard") as connection:

        def read() -> str:
            parts = sum(len(plan.partitions) for plan in planned(connection).values())
            return f"{parts:,} partitions."

        yield read_requirement("backfill plan", "made by phase_3_plan", read)


def _functional_allowed(migration: Migration) -> Iterator[Requirement]:
    """Users may see synthetic rows."""
    allow = migration.installation.require_functional_validation_allowed
    yield read_requirement("permission", "FUNCTIONAL_VALIDATION_ALLOWED=true", allow)


def _load_allowed(migration: Migration) -> Iterator[Requirement]:
    """Users may notice the load."""
    yield read_requirement("permission", "LOAD_TEST_ALLOWED=true", migration.installation.require_load_test_allowed)


def _demonstration(migration: Migration) -> Iterator[Requirement]:
    """The database is our own."""
    met = migration.settings.uses_demonstration
    message = "no database is configured." if met else f"{migration.database.display} is configured."
    remedy = "Unset KNOWLEDGE_MIGRATION_DATABASE_URL where you want the demonstration."
    yield Requirement("embedded database", met, message, remedy, essential=True, needed="no configured database")


GUARDS: Mapping[str, tuple[Guard, ...]] = {
    "demonstration_database": (_demonstration,),
    "demonstration_service": (_demonstration,),
    "evidence_store": (_preflight,),
    "verified_backup": (_evidence_store, _preflight),  # the step that also makes inventory and fingerprint
    "data_quality_report": (_evidence_store,),
    "performance_baseline": (_evidence_store,),
    "staging_rehearsal": (_evidence_store, _backup),
    "rollback_drill": (_evidence_store, _backup),
    "proposal_schema": (_evidence_store, _preflight, _backup, _rehearsal),
    "feature_flag_store": (_schema,),
    "dual_write_mode": (_schema, _flags),
    "dual_write_probe": (_schema, _dual_write),
    "backfill_plan": (_schema, _rehearsal, _no_blocking_finding, _dual_write),
    "topic_backfill": (_schema, _rehearsal, _no_blocking_finding, _dual_write, _plan),
    "atom_backfill": (_schema, _rehearsal, _no_blocking_finding, _dual_write, _plan),
    "backfill_completion": (_schema, _dual_write, _plan),
    "cutover_gates": (_schema, _flags),
    "legacy_path_retirement": (_schema, _flags, _legacy_rows),
    "extraction_archive": (_schema, _legacy_rows),
    "index_maintenance": (_schema, _legacy_rows),
    "migration_metrics": (_schema,),
    "integrity_validation": (_schema, _dual_write),
    "value_verification": (_schema,),
    "performance_validation": (_schema,),
    "functional_validation": (_schema, _functional_allowed),
    "load_test": (_schema, _load_allowed),
}
"""Every asset that writes (to a user's table, to our schema, or a file) and its guards. `cutover_stage` has its readiness."""


def spec(asset: str) -> dg.AssetCheckSpec:
    """The declaration of the guards of an asset."""
    return dg.AssetCheckSpec(CHECK, asset=asset, blocking=True, description=DESCRIPTION)


def guarded(migration: Migration, asset: str) -> Iterator[dg.AssetCheckResult]:
    """Yields the check of the asset, then raises `dg.Failure` where a requirement is missing."""
    with reporting.as_dagster_failure():
        requirements = [one for guard in GUARDS[asset] for one in guard(migration)]
    yield from require(migration, asset, requirements)


def require(
    migration: Migration, asset: str, requirements: Sequence[Requirement], *, overridden: bool = False
) -> Iterator[dg.AssetCheckResult]:
    """Yields these requirements as the check of the asset, then raises `dg.Failure` where one is missing."""
    missing = [one for one in requirements if not one.met]
    table = reporting.rows_table([one.as_row() for one in sorted(requirements, key=lambda one: one.met)])
    counted = f"{len(missing)} of {len(requirements)} requirements are missing" if missing else "All are met"
    yield from migration.recorded(
        asset,
        dg.AssetCheckResult(
            check_name=CHECK,
            asset_key=asset,
            passed=not missing,
            severity=reporting.severity(warns=overridden),
            description=f"{counted}: {', '.join(one.name for one in missing)}." if missing else f"{counted}.",
            metadata={"requirements": table, "missing": len(missing)},
        ),
    )
    if missing and not overridden:
        raise dg.Failure(
            description=f"{asset} is refused: {counted}. Nothing was changed.",
            metadata={
                "missing": reporting.rows_table([one.as_row() for one in missing]),
                "what_to_do": "\n".join(f"{one.name}: {one.message} {one.remedy}".strip() for one in missing),
                "safe_to_run_again": True,
            },
            allow_retries=False,
        )
