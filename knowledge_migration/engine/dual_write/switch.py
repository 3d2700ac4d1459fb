"""Switches dual write on, through the audited function, and proves the fence (strategy §4.3)."""

from knowledge_migration.engine.dual_write.fence import Fence, FenceTimeouts, live_writers, prove
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge.flags import Flags, FlagsError, read_flags, set_flags


def store_flags(database: Database, initial: Flags, *, dagster_run_id: str | None = None) -> Flags:
    """Puts the initial flags into the database unless some are there; returns those that are."""
    return _set(database, {}, initial, "initial values", dagster_run_id, only_if_none=True)


def switch_on(
    database: Database, initial: Flags, timeouts: FenceTimeouts, *, reason: str, dagster_run_id: str | None = None
) -> tuple[Flags, Fence]:
    """Sets dual write (idempotent), waits until everybody obeys, and records the fence.

    Raises `PreconditionError` when the schema is not as phase 1 leaves it or no process is live, `BlockedError` naming
    who does not obey.
    """
    differences = proposal_differences(database)
    if differences:
        raise PreconditionError(
            f"The schema is not as phase 1 leaves it ({len(differences)} differences, first: {differences[0].object} is "
            f"{differences[0].found}). Run phase 1 (job phase_1_schema) first."
        )
    with database.connect("dual write") as connection:
        if not live_writers(connection, timeouts.live_seconds):
            raise PreconditionError(
                "No process of the knowledge service reports, so nobody would obey. Start it (knowledge-migration serve) and "
                "run this again. If no process writes topics or atoms at all, leave this phase out and set "
                "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true for the backfill. Nothing was changed."
            )
    flags = _set(database, {"dual_write": True}, initial, reason, dagster_run_id)
    return flags, prove(database, flags, timeouts, dagster_run_id=dagster_run_id)


def switch_off(database: Database, initial: Flags, *, reason: str, dagster_run_id: str | None = None) -> Flags:
    """Switches dual write off; raises `PreconditionError` while proposals are enabled: roll the cutover back first."""
    with database.begin() as transaction:
        now = read_flags(transaction)
    if now and now.enabled:
        raise PreconditionError(
            "Proposals are enabled for some users: without dual write the others would write directly, and nothing could "
            "be rolled back. Switch them off first (knowledge-migration flags set enabled=false --reason …)."
        )
    return _set(database, {"dual_write": False}, initial, reason, dagster_run_id)


def _set(
    database: Database,
    changes: dict[str, bool],
    initial: Flags,
    reason: str,
    dagster_run_id: str | None,
    *,
    only_if_none: bool = False,
) -> Flags:
    try:
        with database.begin() as transaction:
            now = read_flags(transaction)
            if only_if_none and now and now.version:
                return now
            return set_flags(
                transaction,
                changes,
                initial=initial,
                actor=audit.operator(),
                reason=reason,
                dagster_run_id=dagster_run_id,
            )
    except FlagsError as error:
        raise PreconditionError(str(error)) from error
