"""Phase 1 as a whole: its preconditions, the schema change while a probe reads the tables, and the evidence of both."""

from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.preparation.preflight import PreflightContext, require_preflight
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.stall_probe import StallProbe, probing
from knowledge_migration.engine.schema.upgrade import OnStep, SchemaChange
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import SchemaChangeSettings

PROBED_TABLES = ("topics", "atoms", "users", "topic_atoms")


@dataclass(frozen=True)
class SchemaPhase:
    """The schema change, and the stalls of readers during it."""

    change: SchemaChange
    probe: StallProbe


def run_schema_phase(
    preconditions: PreflightContext,
    limits: SchemaChangeSettings,
    *,
    backup_max_age_hours: float,
    dagster_run_id: str | None = None,
    on_step: OnStep | None = None,
) -> SchemaPhase:
    """Expands the schema (strategy §3).

    Raises `PreconditionError` when a preflight check fails now, or without a fresh and unaltered verified backup.
    """
    database = preconditions.database
    require_preflight(preconditions)
    backup = evidence.require(
        preconditions.connection, "verified_backup", made_by="asset verified_backup", max_age_hours=backup_max_age_hours
    )
    verify_file(backup.content)
    with probing(database, PROBED_TABLES) as probe:
        change = schema.upgrade(database, limits, on_step=on_step)
    with database.connect("schema phase") as connection, connection.transaction():
        if change.changed or evidence.latest(connection, "reader_stall") is None:
            evidence.record(connection, "reader_stall", probe.to_evidence(), dagster_run_id=dagster_run_id)
        if change.changed:
            audit.record(
                connection,
                AuditAction.UPGRADE_SCHEMA,
                "phase 1",
                dagster_run_id=dagster_run_id,
                before={"revision": change.from_revision},
                after={"revision": change.to_revision},
            )
    return SchemaPhase(change, probe)


def schema_outcome(database: Database, sample: int) -> CheckOutcome:
    """Whether every table, column, index and constraint is as declared, valid and validated (strategy §3.2)."""
    differences = [vars(difference) for difference in proposal_differences(database)]
    return CheckOutcome(
        name="schema_matches_the_declaration",
        count=len(differences),
        sample=tuple(differences[:sample]),
        description="Every table, column, index (valid) and constraint (validated) is as declared.",
        remedy="Run the schema phase again: it completes what is missing and rebuilds invalid indexes.",
    )


def stall_outcome(connection: Connection, limit_ms: float) -> CheckOutcome:
    """Whether a reader stalled beyond the limit, or failed, while the schema changed."""
    content = evidence.require(connection, "reader_stall", made_by="asset proposal_schema").content
    violations: list[dict[str, Any]] = [{"failed_read": failure} for failure in content["failed_reads"]]
    if content["stall_ms"] > limit_ms:
        violations.append({"stall_ms": content["stall_ms"], "limit_ms": limit_ms})
    if not content["reads"]:
        violations.append({"reads": 0})
    return CheckOutcome(
        name="no_reader_stalled",
        count=len(violations),
        sample=tuple(violations),
        description=f"No reader of the live tables stalled for more than {limit_ms:g} ms while the schema changed.",
        remedy="Lower DDL_LOCK_TIMEOUT_MS before the next change; the evidence 'reader_stall' has the measurements.",
        numbers={key: value for key, value in content.items() if not isinstance(value, list)},
    )
