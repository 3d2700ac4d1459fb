"""Phase 5, cleanup (strategy §11.3): the old paths retired, old extractions archived, indexes looked after."""

from collections.abc import Callable

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.cleanup import archive, indexes, outcomes, retirement
from knowledge_migration.engine.foundation import progress

GROUP = "phase_5_cleanup"


class RetirementConfig(dg.Config):
    """Why; why sooner than it should be (audited); and tables that stay without the rule of completeness."""

    reason: str = "phase 5: cleanup"
    override: str | None = None
    without: list[str] = []  # noqa: RUF012 - Dagster copies it


@dg.asset(group_name=GROUP, deps=["cutover_stage"], kinds={"postgres"})
def legacy_path_retirement(
    context: dg.AssetExecutionContext, config: RetirementConfig, migration: Migration
) -> dg.MaterializeResult:
    """Direct writes and dual write are locked, and the database refuses topics and atoms without a proposal.

    Refused until full cutover has been stable for two weeks, unless `override` says why. Waits until every live process
    obeys and older transactions have ended; each lock is bounded. Undo: `knowledge-migration cleanup reopen`.
    """
    settings = migration.settings
    with reporting.as_dagster_failure():
        done = retirement.retire(
            migration.database,
            migration.installation.initial_flags,
            migration.settings.fence,
            migration.settings.schema_change,
            reason=config.reason,
            override=config.override,
            without=config.without,
            required_days=settings.cleanup.stable_days,
            no_live_writers=settings.dual_write.no_live_writers,
            dagster_run_id=context.run.run_id,
        )
    rules = [{"table": table, "before": state or "left without it"} for table, state in done.constraints.items()]
    return dg.MaterializeResult(
        metadata={
            "stability": done.stability.sentence,
            "overridden": done.overridden,
            "flag_version": done.flags.version,
            "live_writers": reporting.rows_table([{"process": one} for one in done.writers]),
            "rows_must_come_from_a_proposal": reporting.rows_table(rules),
            "seconds": done.seconds,
        }
    )


@dg.asset_check(asset=legacy_path_retirement, blocking=True)
def full_cutover_is_stable(migration: Migration) -> dg.AssetCheckResult:
    """Full cutover has been stable for two weeks without a rollback since, or somebody overrode it."""
    with reporting.as_dagster_failure(), migration.database.connect("cleanup checks") as connection:
        outcome = outcomes.stability_outcome(migration.database, connection)
    return reporting.check_result(outcome, asset="legacy_path_retirement")


@dg.asset_check(asset=legacy_path_retirement, blocking=True)
def old_paths_are_retired(migration: Migration) -> dg.AssetCheckResult:
    """Direct writes and dual write are locked, and every live process of the service knows it."""
    with reporting.as_dagster_failure(), migration.database.connect("cleanup checks") as connection:
        live_seconds = migration.settings.fence.live_seconds
        outcome = outcomes.retired_outcome(migration.database, connection, live_seconds=live_seconds)
    return reporting.check_result(outcome, asset="legacy_path_retirement")


@dg.asset_check(asset=legacy_path_retirement, blocking=True)
def every_row_must_come_from_a_proposal(migration: Migration) -> dg.AssetCheckResult:
    """The database itself refuses a topic or atom without a proposal."""
    with reporting.as_dagster_failure(), migration.database.connect("cleanup checks") as connection:
        outcome = outcomes.completeness_outcome(connection)
    return reporting.check_result(outcome, asset="legacy_path_retirement")


class ArchiveConfig(dg.Config):
    """How much is moved at once, and whether to count only; ARCHIVE_OLDER_THAN_DAYS says what is old."""

    reason: str = "phase 5: cleanup"
    batch_runs: int = archive.BATCH_RUNS
    dry_run: bool = False


@dg.asset(group_name=GROUP, deps=[legacy_path_retirement], kinds={"postgres"})
def extraction_archive(
    context: dg.AssetExecutionContext, config: ArchiveConfig, migration: Migration
) -> dg.MaterializeResult:
    """Extraction runs of more than 30 days whose proposals nobody needs, moved to `knowledge_extraction_archive`.

    In bounded batches; no topic or atom is touched. Archived proposals can no longer be seen or undone through the API.
    Undo, run by run: `knowledge-migration cleanup archive --restore RUN`.
    """
    with reporting.as_dagster_failure():
        done = archive.archive_extractions(
            migration.database,
            reason=config.reason,
            older_than_days=migration.settings.cleanup.archive_older_than_days,
            batch_runs=config.batch_runs,
            dry_run=config.dry_run,
            limits=migration.settings.schema_change,
            dagster_run_id=context.run.run_id,
            on_batch=_archive_logger(context.log.info),
        )
    kept = [{"kept because": reason, "runs": count} for reason, count in sorted(done.kept.items())]
    return dg.MaterializeResult(
        metadata={
            "dry_run": config.dry_run,
            "runs": done.runs,
            "topic_proposals": done.topic_proposals,
            "atom_proposals": done.atom_proposals,
            "old_runs": done.old_runs,
            "kept": reporting.rows_table(kept),
        }
    )


def _archive_logger(log: Callable[[str], None]) -> archive.OnBatch:
    def told(now: archive.Archived) -> None:
        words = f"{now.runs:,} runs moved, {now.old_runs:,} looked at"
        log(words)
        progress.report_progress(progress.Report("archive", words))

    return told


@dg.asset_check(asset=extraction_archive, blocking=True)
def nothing_linked_was_archived(migration: Migration) -> dg.AssetCheckResult:
    """No row came from an archived proposal, each run is in one place, and none was lost on the way."""
    with reporting.as_dagster_failure(), migration.database.connect("archive check") as connection:
        outcome = archive.archive_outcome(connection, sample=migration.settings.validation.rules_sample)
    return reporting.check_result(outcome, asset="extraction_archive")


class IndexConfig(dg.Config):
    """Whether to report only. CLEANUP_DROP_INDEXES names the indexes that may be dropped."""

    reason: str = "phase 5: cleanup"
    dry_run: bool = False


@dg.asset(group_name=GROUP, deps=[extraction_archive], kinds={"postgres"})
def index_maintenance(
    context: dg.AssetExecutionContext, config: IndexConfig, migration: Migration
) -> dg.MaterializeResult:
    """What is unused, redundant or invalid among the indexes; drops only what CLEANUP_DROP_INDEXES names. ANALYZE.

    Never one that is unique, backs a constraint or is declared by the application. Each definition is in the audit log.
    Undo: `knowledge-migration cleanup indexes --recreate NAME`.
    """
    with reporting.as_dagster_failure():
        done = indexes.maintain_indexes(
            migration.database,
            migration.settings.schema_change,
            drop=migration.settings.cleanup.drop_indexes,
            reason=config.reason,
            dry_run=config.dry_run,
            dagster_run_id=context.run.run_id,
        )
    since = done.report.statistics_since
    return dg.MaterializeResult(
        metadata={
            "dropped": ", ".join(done.dropped) or "none",
            "gone_already": ", ".join(done.gone_already) or "none",
            "freed_megabytes": done.freed_bytes / 2**20,
            "statistics_since": reporting.plain(since) if since else "the database was made",
            "findings": reporting.rows_table([finding.as_row for finding in done.report.findings]),
            "indexes": len(done.report.indexes),
            "megabytes": sum(index.bytes for index in done.report.indexes) / 2**20,
        }
    )


@dg.asset_check(asset=index_maintenance, blocking=True)
def every_index_is_valid(migration: Migration) -> dg.AssetCheckResult:
    """Every index of the application and of the proposal workflow is valid, and ours are all there."""
    with reporting.as_dagster_failure(), migration.database.connect("index check") as connection:
        outcome = indexes.validity_outcome(connection, sample=migration.settings.validation.rules_sample)
    return reporting.check_result(outcome, asset="index_maintenance")


ASSETS = [legacy_path_retirement, extraction_archive, index_maintenance]
CHECKS = [
    full_cutover_is_stable,
    old_paths_are_retired,
    every_row_must_come_from_a_proposal,
    nothing_linked_was_archived,
    every_index_is_valid,
]

job = dg.define_asset_job(
    "phase_5_cleanup",
    selection=dg.AssetSelection.groups(GROUP),
    description="Old paths retired, old extractions archived, indexes looked after. Undo: knowledge-migration cleanup reopen.",
)
