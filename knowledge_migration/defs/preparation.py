"""Phase 0, preparation (strategy §2): preflight, inventory, fingerprint, verified backup, data quality, baseline.

Nothing here changes the user's tables. The first thing ever written is our own schema `migration`, for the evidence.
"""

from collections.abc import Iterator

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.backfill.phase import blocking_findings_outcome
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.preparation import baseline, preflight
from knowledge_migration.engine.preparation.legacy_snapshot import backup_outcome, inventory_frame, take_legacy_snapshot
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.validation import data_quality

GROUP = "phase_0_preparation"

legacy_database = dg.AssetSpec(
    "legacy_database",
    group_name=GROUP,
    kinds={"postgres"},
    description=(
        "The application's live database, with its tables `topics`, `atoms` and what refers to them. It is not made "
        "here; the preflight checks on it say whether the migration may begin, each with what to do if not."
    ),
)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset="legacy_database", blocking=True, description=check.__doc__)
        for name, check in preflight.CHECKS.items()
    ],
    name="preflight",
    can_subset=True,
)
def preflight_checks(context: dg.AssetCheckExecutionContext, migration: Migration) -> Iterator[dg.AssetCheckResult]:
    """Version, rights, extensions, schema, long transactions, disk, names: reads the catalog only."""
    with reporting.as_dagster_failure(), migration.installation.preflight() as looked_at:
        for key in sorted(context.selected_asset_check_keys, key=lambda key: list(preflight.CHECKS).index(key.name)):
            yield reporting.check_result(preflight.CHECKS[key.name](looked_at), asset="legacy_database")


@dg.asset(group_name=GROUP, deps=["legacy_database"], kinds={"postgres"})
def evidence_store(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """The schema `migration` with audit log, ledger, quarantine and evidence.

    Creates objects in a schema of its own and touches nothing else. Undo: `knowledge-migration rollback schema --all`
    drops it.
    """
    with reporting.as_dagster_failure():
        change = schema.prepare_evidence(migration.database, migration.settings.schema_change)
    return dg.MaterializeResult(
        metadata={
            "revision": change.to_revision or "none",
            "steps": reporting.rows_table([result.as_row() for result in change.steps]),
        }
    )


@dg.multi_asset(
    name="legacy_snapshot",
    specs=[
        dg.AssetSpec(
            "data_inventory",
            deps=[evidence_store],
            group_name=GROUP,
            kinds={"postgres"},
            description=(
                "What there is: exact rows, sizes, id ranges and foreign keys of topics, atoms and everything that refers "
                "to them or that they refer to. Reads only, under one snapshot that fingerprint and backup share."
            ),
        ),
        dg.AssetSpec(
            "legacy_fingerprint",
            deps=[evidence_store],
            group_name=GROUP,
            kinds={"postgres"},
            description=(
                "Count and checksum of every legacy column, per table and key range, under the snapshot of the inventory. "
                "Every later phase is held against it: the migration changes no legacy value. Reads only."
            ),
        ),
        dg.AssetSpec(
            "verified_backup",
            deps=[evidence_store],
            group_name=GROUP,
            kinds={"postgres"},
            description=(
                "A `pg_dump -Fc` of the whole database under the same snapshot, restored into a scratch database whose "
                "counts and checksums equal the fingerprint; only then it gets its name. The scratch database is dropped. "
                "Undo: delete the file."
            ),
        ),
    ],
)
def legacy_snapshot(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[dg.MaterializeResult]:
    """Inventory, fingerprint and backup of one moment: they only mean something together."""
    with reporting.as_dagster_failure():
        taken = take_legacy_snapshot(
            migration.database,
            directory=migration.installation.backups,
            scratch=migration.installation.scratch,
            tools_directory=migration.settings.installation.pg_bin,
            range_ids=migration.settings.preparation.fingerprint_range_ids,
            dagster_run_id=context.run.run_id,
            progress=reporting.progress_reporter(context.log.info, "verified backup"),
        )
    frame = inventory_frame(taken.inventory)
    yield dg.MaterializeResult(
        "data_inventory",
        metadata={"rows": sum(taken.inventory.rows.values()), "tables": reporting.table(frame)},
    )
    yield dg.MaterializeResult(
        "legacy_fingerprint",
        metadata={
            "digest": taken.fingerprint.digest,
            "rows": sum(taken.fingerprint.rows.values()),
            "tables": reporting.rows_table(taken.fingerprint_rows),
        },
    )
    proven = taken.backup
    yield dg.MaterializeResult(
        "verified_backup",
        metadata={
            "path": dg.MetadataValue.path(str(proven.path)),
            "sha256": proven.sha256,
            "bytes": proven.bytes,
            "dump_seconds": proven.duration_seconds,
            "restore_and_compare_seconds": proven.restore_seconds,
            "tables_compared": len(proven.tables),
            "rows_compared": sum(proven.tables.values()),
        },
    )


@dg.asset_check(asset="verified_backup", blocking=True)
def backup_file_is_unaltered(migration: Migration) -> dg.AssetCheckResult:
    """The file of the latest verified backup is there, and its checksum is the one that was verified."""
    with reporting.as_dagster_failure(), migration.database.connect("backup check") as connection:
        return reporting.check_result(backup_outcome(connection), asset="verified_backup")


@dg.asset(group_name=GROUP, deps=[evidence_store], kinds={"postgres", "pandas"})
def data_quality_report(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """What is odd in the data, and per finding whether it blocks the backfill, quarantines rows, or is carried over.

    Reads only, under one snapshot.
    """
    settings = migration.settings
    with reporting.as_dagster_failure(), migration.database.connect("data quality") as connection:
        report = data_quality.report(
            connection,
            sample=settings.validation.rules_sample,
            similarity_percent=settings.preparation.near_duplicate_similarity_percent,
            progress=context.log.info,
        )
        frame = report.as_frame()
        reporting.progress_reporter(context.log.info, "data quality")(
            f"{len(report.blocking)} findings block the backfill, {len(report.met('quarantines'))} set rows aside, "
            f"{len(report.met('accepted'))} are carried over as they are"
        )
        evidence.record(
            connection,
            "data_quality",
            {"findings": reporting.plain(frame.to_dict("records"))},
            dagster_run_id=context.run.run_id,
        )
    samples = {
        f"sample_{result.finding.name}": reporting.rows_table([reporting.plain(row) for row in result.sample[:10]])
        for result in report.results
        if result.count
    }
    return dg.MaterializeResult(
        metadata={
            "findings": reporting.table(frame),
            "plot": reporting.picture(plots.bar_of_findings(frame), "findings by what they do to the backfill"),
            "blocking": len(report.blocking),
            "quarantining": len(report.met("quarantines")),
            "accepted": len(report.met("accepted")),
            **samples,
        }
    )


@dg.asset_check(asset=data_quality_report, blocking=True)
def no_finding_blocks_the_backfill(migration: Migration) -> dg.AssetCheckResult:
    """No finding of the latest data quality report forbids the backfill."""
    with reporting.as_dagster_failure(), migration.database.connect("data quality") as connection:
        outcome = blocking_findings_outcome(connection)
    return reporting.check_result(outcome, asset="data_quality_report")


@dg.asset(group_name=GROUP, deps=[evidence_store], kinds={"postgres"})
def performance_baseline(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """Median, p95 and p99 of the topics and atoms endpoint queries before anything changes, and of BASELINE_URLS.

    Reads only; the addresses are asked for with GET. After each phase `performance_comparison` measures the same again.
    """
    samples = migration.settings.performance.baseline_samples
    with reporting.as_dagster_failure(), migration.database.connect("performance baseline") as connection:
        measured = baseline.measure(connection, samples=samples, progress=context.log.info)
        pages = migration.installation.measured_pages()
        slowest = max(latency.p95_ms for latency in measured.latencies)
        reporting.progress_reporter(context.log.info, "performance baseline")(
            f"{samples} samples of {len(measured.latencies)} queries, slowest p95 {slowest:.1f} ms"
        )
        content = {**measured.to_evidence(), "urls": [page.to_evidence() for page in pages]}
        evidence.record(connection, "performance_baseline", content, dagster_run_id=context.run.run_id)
    frame = measured.as_frame()
    return dg.MaterializeResult(
        metadata={
            "latencies_ms": reporting.table(frame.round(3)),
            "plot": reporting.picture(plots.latency_percentiles(frame), "latency percentiles by query"),
            "pages_ms": reporting.rows_table(content["urls"]),
            "samples_per_query": samples,
        }
    )


ASSETS = [legacy_database, evidence_store, legacy_snapshot, data_quality_report, performance_baseline]
CHECKS = [preflight_checks, backup_file_is_unaltered, no_finding_blocks_the_backfill]

job = dg.define_asset_job(
    "phase_0_preparation",
    selection=dg.AssetSelection.groups(GROUP) | dg.AssetSelection.checks(preflight_checks),
    description="Preflight, then inventory, fingerprint, verified backup, data quality and baseline. Changes no user table.",
)
