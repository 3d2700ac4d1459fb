"""Phase 0, preparation (strategy §2): preflight, inventory, fingerprint, verified backup, data quality, baseline.

Changes no table of the user's. The first write creates the migration's own schema `migration`, for the evidence.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.backfill.plan import blocking_findings_outcome
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.preparation import baseline, preflight
from knowledge_migration.engine.preparation.legacy_snapshot import backup_outcome, inventory_frame, take_legacy_snapshot
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.validation import data_quality

GROUP = "phase_0_preparation"


def _spec(name: str, description: str, *deps: dg.AssetsDefinition) -> dg.AssetSpec:
    return dg.AssetSpec(name, deps=deps, group_name=GROUP, kinds={"postgres"}, description=description)


legacy_database = _spec(
    "legacy_database",
    "The application's live database: the tables `topics` and `atoms` and every table with a foreign key to them. The "
    "migration does not create it; its preflight checks decide whether the migration may start, each with a remedy.",
)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset="legacy_database", description=check.__doc__)
        for name, check in preflight.CHECKS.items()
    ],
    name="preflight",
    can_subset=True,
)
def preflight_checks(context: dg.AssetCheckExecutionContext, migration: Migration) -> Iterator[dg.AssetCheckResult]:
    """Version, privileges, extensions, schema, long transactions, disk, names: reads the catalog only."""
    with reporting.as_dagster_failure(), migration.installation.preflight() as preflight_context:
        for key in sorted(context.selected_asset_check_keys, key=lambda key: list(preflight.CHECKS).index(key.name)):
            yield migration.check_result(preflight.CHECKS[key.name](preflight_context), asset="legacy_database")


@dg.asset(group_name=GROUP, deps=["legacy_database"], check_specs=[guards.spec("evidence_store")], kinds={"postgres"})
def evidence_store(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The schema `migration` with audit log, ledger, quarantine and evidence; changes nothing else.

    Undo: `knowledge-migration rollback schema --all` drops it.
    """
    yield from guards.guarded(migration, "evidence_store")
    with reporting.as_dagster_failure():
        change = schema.prepare_evidence(migration.database, migration.settings.schema_change)
    yield dg.MaterializeResult(
        metadata={
            "revision": change.to_revision or "none",
            "steps": reporting.rows_table([result.as_row() for result in change.steps]),
        }
    )


@dg.multi_asset(
    name="legacy_snapshot",
    specs=[
        _spec(
            "data_inventory",
            "Exact row counts, sizes, id ranges and foreign keys of topics, atoms and every table that foreign keys connect "
            "with them. Reads only, under one snapshot that fingerprint and backup share.",
            evidence_store,
        ),
        _spec(
            "legacy_fingerprint",
            "Count and checksum of every legacy column, per table and key range, under the snapshot of the inventory. Later "
            "phases compare the tables with it: the migration changes no legacy value. Reads only.",
            evidence_store,
        ),
        _spec(
            "verified_backup",
            "A `pg_dump -Fc` of the whole database under the same snapshot, restored into a scratch database whose counts "
            "and checksums equal the fingerprint; the file gets its final name only then. The scratch database is dropped. "
            "Undo: delete the file.",
            evidence_store,
        ),
    ],
    check_specs=[guards.spec("verified_backup")],
)
def legacy_snapshot(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Inventory, fingerprint and backup of one snapshot."""
    yield from guards.guarded(migration, "verified_backup")
    with reporting.as_dagster_failure():
        taken = take_legacy_snapshot(
            migration.database,
            folder=migration.installation.backups,
            scratch=migration.installation.scratch,
            tools_directory=migration.settings.installation.pg_bin,
            range_ids=migration.settings.preparation.fingerprint_range_ids,
            limits=migration.settings.validation,
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
    backup = taken.backup
    yield dg.MaterializeResult(
        "verified_backup",
        metadata={
            "path": dg.MetadataValue.path(str(backup.path)),
            "sha256": backup.sha256,
            "bytes": backup.bytes,
            "dump_seconds": backup.duration_seconds,
            "restore_and_compare_seconds": backup.restore_seconds,
            "tables_compared": len(backup.tables),
            "rows_compared": sum(backup.tables.values()),
        },
    )


@dg.asset_check(asset="verified_backup", blocking=True)
def backup_file_is_unaltered(migration: Migration) -> dg.AssetCheckResult:
    """The file of the latest verified backup exists and has the verified checksum."""
    with reporting.as_dagster_failure(), migration.database.connect("backup check") as connection:
        return migration.check_result(backup_outcome(connection), asset="verified_backup")


@dg.asset(
    group_name=GROUP,
    deps=[evidence_store],
    check_specs=[guards.spec("data_quality_report")],
    kinds={"postgres", "pandas"},
)
def data_quality_report(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Anomalies in the data: each finding blocks the backfill, quarantines rows, or is accepted. Reads only, one snapshot."""
    yield from guards.guarded(migration, "data_quality_report")
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
    yield dg.MaterializeResult(
        metadata={
            "findings": reporting.table(frame),
            "plot": reporting.picture(plots.bar_of_findings(frame), "findings by their effect on the backfill"),
            "blocking": len(report.blocking),
            "quarantining": len(report.met("quarantines")),
            "accepted": len(report.met("accepted")),
            **samples,
        }
    )


@dg.asset_check(asset=data_quality_report, blocking=True)
def no_finding_blocks_the_backfill(migration: Migration) -> dg.AssetCheckResult:
    """No finding of the latest data quality report blocks the backfill."""
    with reporting.as_dagster_failure(), migration.database.connect("data quality") as connection:
        outcome = blocking_findings_outcome(connection)
    return migration.check_result(outcome, asset="data_quality_report")


@dg.asset(
    group_name=GROUP, deps=[evidence_store], check_specs=[guards.spec("performance_baseline")], kinds={"postgres"}
)
def performance_baseline(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Median, p95 and p99 of the queries behind the topics and atoms endpoints, and of BASELINE_URLS, before any change.

    Reads only; requests the URLs with GET. After each phase `performance_comparison` measures the same again.
    """
    yield from guards.guarded(migration, "performance_baseline")
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
    yield dg.MaterializeResult(
        metadata={
            "latencies_ms": reporting.table(frame.round(3)),
            "plot": reporting.picture(plots.latency_percentiles(frame), "latency percentiles by query"),
            "pages_ms": reporting.rows_table(content["urls"]),
            "samples_per_query": samples,
        }
    )


job = dg.define_asset_job(
    "phase_0_preparation",
    selection=dg.AssetSelection.groups(GROUP),
    description="Preflight, inventory, fingerprint, verified backup, data quality and baseline. Changes no table of the user's.",
)
