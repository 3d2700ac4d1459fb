"""Where a database stands in the migration, read from the database itself: what is done, and when. Reads only."""

from dataclasses import dataclass

from knowledge_migration.engine.backfill.phase import blocking_findings_outcome
from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.cutover.state import position
from knowledge_migration.engine.dual_write.fence import proven_fence
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.schema.steps import TARGET_REVISION
from knowledge_migration.knowledge.entity_kinds import KINDS

PREPARATION_EVIDENCE = ("legacy_fingerprint", "verified_backup", "data_quality", "performance_baseline")


@dataclass(frozen=True)
class Status:
    """Which phases are done, in words for each; None where a phase is not done."""

    preparation: str | None
    schema: str | None
    dual_write: str | None
    backfill: str | None
    cutover: str | None


def status(
    database: Database,
    connection: Connection,
    *,
    backup_max_age_hours: float,
    no_live_writers: bool,
    skip_rehearsal: bool = False,
) -> Status:
    """The present state of phases 0 to 4.

    `no_live_writers` is the operator's word that phase 2 has nobody to wait for, `skip_rehearsal` that no rehearsal is needed.
    """
    schema = schema_done(connection)
    needed_age = None if schema else backup_max_age_hours
    dual_write = (
        "left out: KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set" if no_live_writers else dual_write_done(database)
    )
    return Status(
        preparation_done(connection, needed_age, with_rehearsal=not schema and not skip_rehearsal),
        schema,
        dual_write,
        _backfill(connection),
        _cutover(database) if schema else None,
    )


def _cutover(database: Database) -> str | None:
    try:
        standing = position(database)
    except PreconditionError:
        return None
    return f"full cutover since {standing.since:%Y-%m-%d %H:%M} UTC" if standing.state == "full_cutover" else None


def dual_write_done(database: Database) -> str | None:
    """When dual write was proven, if it stands."""
    try:
        fence = proven_fence(database)
    except PreconditionError:
        return None
    return f"dual write proven at {fence.proven_at:%Y-%m-%d %H:%M} UTC"


def preparation_done(connection: Connection, backup_max_age_hours: float | None, *, with_rehearsal: bool) -> str | None:
    """Done when all evidence is there and none forbids to go on; before the schema phase the backup must be fresh too."""
    kinds = (*PREPARATION_EVIDENCE, *(["staging_rehearsal"] if with_rehearsal else []))
    found = {kind: evidence.latest(connection, kind) for kind in kinds}
    if not all(found.values()) or not blocking_findings_outcome(connection).passed:
        return None
    ages = [item.age_hours() for item in found.values() if item]
    if backup_max_age_hours is not None and max(ages) > backup_max_age_hours:
        return None
    oldest = min(item.recorded_at for item in found.values() if item)
    return f"fingerprint, verified backup, data quality and baseline of {oldest:%Y-%m-%d %H:%M} UTC"


def schema_done(connection: Connection) -> str | None:
    """The revision, if it is the last."""
    revision = current_revision(connection)
    return f"schema at revision {revision}" if revision == TARGET_REVISION else None


def _backfill(connection: Connection) -> str | None:
    if run_status(connection) != "completed":
        return None
    counts = []
    for kind in KINDS:
        row = connection.execute(statement("status/linked_rows", table=f"public.{kind.table}"), {"entity": kind.name})
        found = row.fetchone()
        assert found is not None
        if found["unlinked"]:
            return None
        counts.append(f"{found['linked']:,} {kind.table}")
    return f"{' and '.join(counts)} linked to their proposals"
