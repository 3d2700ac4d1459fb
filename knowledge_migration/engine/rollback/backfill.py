"""The rollback of phase 3: unlinks and deletes the proposals of the migration's own run, in batches (strategy §5.3).

Proposals of other runs are not touched; legacy rows lose only their two new values. A second run completes a killed one.
The strategy's limit: 10,000 rows in under 10 minutes.
"""

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from knowledge_migration.engine.backfill.batch import TRANSIENT_ERRORS
from knowledge_migration.engine.backfill.run import run_id, run_status
from knowledge_migration.engine.backfill.runner import translate_db_errors
from knowledge_migration.engine.backfill.triggers import apply_choice
from knowledge_migration.engine.cleanup.completeness import refuse_while_enforced
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.rollback.unlinking import OnRows, ProposalRollback, Unlinking, session_settings
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.settings import BackfillSettings

BATCH = "rollback/backfill_batch"


def backfill_extent(connection: Connection) -> dict[str, int]:
    """The number of proposals of the migration's run, per table: those that a rollback would delete."""
    if run_status(connection) is None:
        return {kind.proposal_table: 0 for kind in KINDS}
    run = run_id(connection)
    return {kind.proposal_table: _remaining(connection, kind, run) for kind in KINDS}


def rollback_backfill(
    database: Database,
    *,
    reason: str,
    limits: BackfillSettings,
    batch_size: int = 1_000,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_rows: OnRows | None = None,
) -> ProposalRollback:
    """Removes the backfill; does nothing when there is none. Audited when it begins and ends.

    Of `limits` only the timeouts, the attempts, the sleep and the choice about triggers matter. Raises `BusyError` while a
    backfill runs, `BlockedError` when a user does not release a row, `VerificationError` if proposals of the run remain.
    """
    started = time.perf_counter()
    with (
        translate_db_errors(database, "the rollback of the backfill", again="the rollback"),
        database.connect(
            "backfill rollback", settings={"enable_seqscan": "off", **session_settings(limits)}
        ) as connection,
        advisory_lock(connection, BACKFILL),
    ):
        apply_choice(connection, limits.triggers)
        if run_status(connection) is None:
            return ProposalRollback({}, {}, 0.0, {})
        refuse_while_enforced(connection, "The rollback of the backfill")
        run = run_id(connection)
        before = backfill_extent(connection)
        audited: dict[str, Any] = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id, "before": before}
        audit.record(connection, AuditAction.ROLLBACK_BACKFILL_BEGUN, "phase 3", **audited)
        _analyze(connection)
        work = [Unlinking(connection, kind, {"run": run}, batch_size, limits, on_rows) for kind in KINDS]
        for unlinking in work:
            _unlink(unlinking, batch_size)
        _finish(connection, run, audited)
    return ProposalRollback(
        {unlinking.kind.table: unlinking.unlinked for unlinking in work},
        {unlinking.kind.proposal_table: unlinking.deleted for unlinking in work},
        time.perf_counter() - started,
        {},
    )


def _analyze(connection: Connection) -> None:
    """An interrupted backfill left the statistics of empty tables, and each batch would cost more than the last one.

    188,000 rows took 26 s without it and 7 s with it. Skipped where a lock is in the way: then it is only slower.
    """
    with suppress(*TRANSIENT_ERRORS):
        connection.execute(text_of("backfill/analyze"))


def _unlink(unlinking: Unlinking, batch_size: int) -> None:
    """Passes over the table until no row names a proposal of the run, then deletes proposals that lost their row."""
    first = unlinking.row("backfill/id_bounds")["first_id"]
    after = None if first is None else first - 1
    while after is not None:
        unlinking.pass_over(BATCH, after, batch_size, "skip")
        first = unlinking.row("rollback/backfill_first_linked")["first_id"]
        after = None if first is None else unlinking.batch(BATCH, first - 1, 1, "wait")
    while leftovers := unlinking.row("rollback/backfill_leftovers", size=batch_size)["rows"]:
        unlinking.deleted += leftovers


def _remaining(connection: Connection, kind: EntityKind, run: UUID) -> int:
    query = statement("rollback/backfill_remaining", proposals=f"public.{kind.proposal_table}")
    row = connection.execute(query, {"run": run}).fetchone()
    return int(row["rows"]) if row else 0


def _finish(connection: Connection, run: UUID, audited: dict[str, Any]) -> None:
    """Removes the run and its ledger, with the audit entry, once nothing refers to it."""
    left = {kind.proposal_table: rows for kind in KINDS if (rows := _remaining(connection, kind, run))}
    if left:
        raise VerificationError(
            f"Proposals of the backfill remain after its rollback: {left}. Run the rollback again; if they stay, "
            "find the session that writes them (pg_stat_activity)."
        )
    with connection.transaction():
        connection.execute(text_of("rollback/backfill_records"), {"run": run})
        audit.record(connection, AuditAction.ROLLBACK_BACKFILL, "phase 3", **audited)
