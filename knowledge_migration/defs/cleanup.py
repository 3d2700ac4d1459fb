"""Phase 5, cleanup (strategy §11.3): retires the old paths, archives old extractions, maintains the indexes."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.cleanup import archive, indexes, outcomes, retirement
from knowledge_migration.engine.foundation import progress
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection

GROUP = "phase_5_cleanup"
REASON: str = Field(default="phase 5: cleanup", description="Why; it is recorded in the audit log.")


class RetirementConfig(dg.Config):
    """The reasons of a retirement, and the tables without the rule of completeness."""

    reason: str = REASON
    override: str | None = Field(
        default=None,
        description="Retires the old paths before two stable weeks have passed, for this reason (recorded in the audit log).",
    )
    without: list[str] = Field(
        default=[],
        description="Tables that stay without the rule that every row comes from a proposal, for example `[atoms]`.",
    )


@dg.asset(
    group_name=GROUP, deps=["cutover_stage"], kinds={"postgres"}, check_specs=[guards.spec("legacy_path_retirement")]
)
def legacy_path_retirement(
    context: dg.AssetExecutionContext, config: RetirementConfig, migration: Migration
) -> Iterator[Any]:
    """Direct writes and dual write are locked, and the database refuses topics and atoms without a proposal.

    Refused until full cutover has been stable for two weeks, unless `override` gives a reason. Waits until every live
    process acknowledges and older transactions have ended; each lock is bounded. Undo: `knowledge-migration cleanup reopen`.
    """
    yield from guards.guarded(migration, "legacy_path_retirement")
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
    yield dg.MaterializeResult(
        metadata={
            "stability": done.stability.sentence,
            "overridden": done.overridden,
            "flag_version": done.flags.version,
            "live_writers": reporting.rows_table([{"process": process} for process in done.writers]),
            "rows_must_come_from_a_proposal": reporting.rows_table(rules),
            "seconds": done.seconds,
        }
    )


class ArchiveConfig(dg.Config):
    """How the archive works; ARCHIVE_OLDER_THAN_DAYS sets the age."""

    reason: str = REASON
    batch_runs: int = Field(default=archive.BATCH_RUNS, ge=1, description="Extraction runs moved in one transaction.")
    dry_run: bool = Field(default=False, description="Counts what would be moved, and changes nothing.")


@dg.asset(
    group_name=GROUP, deps=[legacy_path_retirement], kinds={"postgres"}, check_specs=[guards.spec("extraction_archive")]
)
def extraction_archive(context: dg.AssetExecutionContext, config: ArchiveConfig, migration: Migration) -> Iterator[Any]:
    """Extraction runs of more than 30 days whose proposals nobody needs, moved to `knowledge_extraction_archive`.

    In bounded batches; no topic or atom changes. The API cannot show or undo archived proposals.
    Undo, run by run: `knowledge-migration cleanup archive --restore RUN`.
    """
    yield from guards.guarded(migration, "extraction_archive")
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
    yield dg.MaterializeResult(
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
    def on_batch(archived: archive.Archived) -> None:
        message = f"{archived.runs:,} runs moved, {archived.old_runs:,} examined"
        log(message)
        progress.report_progress(progress.Report("archive", message))

    return on_batch


class IndexConfig(dg.Config):
    """How the indexes are maintained; CLEANUP_DROP_INDEXES names those that may be dropped."""

    reason: str = REASON
    dry_run: bool = Field(default=False, description="Reports what would be dropped, and changes nothing.")


@dg.asset(
    group_name=GROUP, deps=[extraction_archive], kinds={"postgres"}, check_specs=[guards.spec("index_maintenance")]
)
def index_maintenance(context: dg.AssetExecutionContext, config: IndexConfig, migration: Migration) -> Iterator[Any]:
    """Reports unused, redundant and invalid indexes; drops only those that CLEANUP_DROP_INDEXES names. Runs ANALYZE.

    Never one that is unique, backs a constraint or is declared by the application. Each definition is in the audit log.
    Undo: `knowledge-migration cleanup indexes --recreate NAME`.
    """
    yield from guards.guarded(migration, "index_maintenance")
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
    yield dg.MaterializeResult(
        metadata={
            "dropped": ", ".join(done.dropped) or "none",
            "gone_already": ", ".join(done.gone_already) or "none",
            "freed_megabytes": done.freed_bytes / 2**20,
            "statistics_since": reporting.plain(since) if since else "the creation of the database",
            "findings": reporting.rows_table([finding.as_row for finding in done.report.findings]),
            "indexes": len(done.report.indexes),
            "megabytes": sum(index.bytes for index in done.report.indexes) / 2**20,
        }
    )


Outcome = Callable[[Migration, Connection], CheckOutcome]


def _check(asset: dg.AssetsDefinition, name: str, description: str, outcome: Outcome) -> dg.AssetChecksDefinition:
    """A blocking check of an asset that reports an outcome of the engine."""

    @dg.asset_check(asset=asset, name=name, description=description, blocking=True)
    def check(migration: Migration) -> dg.AssetCheckResult:
        with reporting.as_dagster_failure(), migration.database.connect("cleanup checks") as connection:
            return migration.check_result(outcome(migration, connection), asset=asset.key.to_user_string())

    return check


CHECKS = [
    _check(
        legacy_path_retirement,
        "full_cutover_is_stable",
        "Full cutover has been stable for two weeks without a rollback since, or an operator overrode it.",
        lambda migration, connection: outcomes.stability_outcome(migration.database, connection),
    ),
    _check(
        legacy_path_retirement,
        "old_paths_are_retired",
        "Direct writes and dual write are locked, and every live process of the service has acknowledged it.",
        lambda migration, connection: outcomes.retired_outcome(
            migration.database, connection, live_seconds=migration.settings.fence.live_seconds
        ),
    ),
    _check(
        legacy_path_retirement,
        "every_row_must_come_from_a_proposal",
        "The database refuses a topic or atom without a proposal.",
        lambda migration, connection: outcomes.completeness_outcome(connection),
    ),
    _check(
        extraction_archive,
        "nothing_linked_was_archived",
        "No row came from an archived proposal, each run is in one place, and no run was lost.",
        lambda migration, connection: archive.archive_outcome(
            connection, sample=migration.settings.validation.rules_sample
        ),
    ),
    _check(
        index_maintenance,
        "every_index_is_valid",
        "Every index of the application and of the proposal workflow is valid, and those of this project all exist.",
        lambda migration, connection: indexes.validity_outcome(
            connection, sample=migration.settings.validation.rules_sample
        ),
    ),
]

job = dg.define_asset_job(
    "phase_5_cleanup",
    selection=dg.AssetSelection.groups(GROUP),
    description="Retires the old paths, archives old extractions, maintains indexes. Undo: knowledge-migration cleanup reopen.",
)
