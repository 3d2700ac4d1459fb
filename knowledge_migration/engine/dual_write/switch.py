"""Switches dual write on, through the audited function, and proves the fence (strategy §4.3)."""

from knowledge_migration.engine.dual_write.fence import Fence, live_writers, prove
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.catalog import require_proposal_schema
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError, translate_knowledge_errors
from knowledge_migration.knowledge.flags import Flags, read_flags, set_flags
from knowledge_migration.settings import FenceSettings


def store_flags(database: Database, initial: Flags, *, dagster_run_id: str | None = None) -> Flags:
    """Stores the initial flags unless the database has flags already; returns those that it has."""
    with translate_knowledge_errors(), database.begin() as transaction:
        stored = read_flags(transaction)
    return stored if stored and stored.version else _set(database, {}, initial, "initial values", dagster_run_id)


def switch_on(
    database: Database, initial: Flags, timeouts: FenceSettings, *, reason: str, dagster_run_id: str | None = None
) -> tuple[Flags, Fence]:
    """Sets dual write (idempotent), waits until every process has acknowledged it, and records the fence.

    Raises `PreconditionError` when the schema is not as phase 1 leaves it or no process is live, `BlockedError` naming
    the processes that do not acknowledge.
    """
    require_proposal_schema(database)
    with database.connect("dual write") as connection:
        if not live_writers(connection, timeouts.live_seconds):
            raise PreconditionError(
                "No process of the knowledge service reports, so none can acknowledge dual write. Start it "
                "(knowledge-migration serve) and run this again. If no process writes topics or atoms at all, skip this "
                "phase and set KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true for the backfill. Nothing was changed."
            )
    flags = _set(database, {"dual_write": True}, initial, reason, dagster_run_id)
    return flags, prove(database, flags, timeouts, dagster_run_id=dagster_run_id)


def switch_off(database: Database, initial: Flags, *, reason: str, dagster_run_id: str | None = None) -> Flags:
    """Switches dual write off; raises `PreconditionError` while proposals are enabled: roll the cutover back first."""
    with translate_knowledge_errors(), database.begin() as transaction:
        flags = read_flags(transaction)
    if flags and flags.enabled:
        raise PreconditionError(
            "Proposals are enabled for some users: without dual write the others would write directly, and nothing could "
            "be rolled back. Switch proposals off first (knowledge-migration rollback instant --reason …)."
        )
    return _set(database, {"dual_write": False}, initial, reason, dagster_run_id)


def _set(
    database: Database, changes: dict[str, bool], initial: Flags, reason: str, dagster_run_id: str | None
) -> Flags:
    with translate_knowledge_errors(), database.begin() as transaction:
        actor = audit.operator()
        return set_flags(
            transaction, changes, initial=initial, actor=actor, reason=reason, dagster_run_id=dagster_run_id
        )
