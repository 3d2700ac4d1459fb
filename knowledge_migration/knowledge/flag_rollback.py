"""The flip of a way back by flags: flags, audit entry and notification in one transaction, whoever asks (strategy §8.2)."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.flags import Flags, StaleFlagsError, read_flags, set_flags
from knowledge_migration.knowledge.stages import FlagRollback, rollback_flags

FLAG_ROLLBACK_LOCK = 0x6B6E6F77_666C6970


@dataclass(frozen=True)
class FlagRollbackResult:
    """The flags before and after, and how many proposals that stranded; None where they could not be counted."""

    before: Flags
    after: Flags
    stranded: int | None


def flip(
    connection: sa.Connection,
    way: FlagRollback,
    *,
    initial: Flags,
    actor: str,
    reason: str,
    expected_version: int | None = None,
    dagster_run_id: str | None = None,
) -> tuple[Flags, Flags]:
    """The flags before and after; the same where the way changes nothing. Two flips at once take turns.

    Raises `FlagsError` where the way leads nowhere, `StaleFlagsError` where the flags are not of `expected_version`.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(FLAG_ROLLBACK_LOCK)))
    before = read_flags(connection) or initial
    if expected_version not in (None, before.version):
        raise StaleFlagsError(
            f"The flags have version {before.version}, not {expected_version}: somebody changed them. Read them again."
        )
    changes = rollback_flags(before, way)
    if not changes:
        return before, before
    after = set_flags(
        connection,
        changes,
        initial=initial,
        actor=actor,
        reason=reason,
        expected_version=expected_version,
        dagster_run_id=dagster_run_id,
    )
    if after != before:
        who: dict[str, Any] = {"actor": actor, "reason": reason, "dagster_run_id": dagster_run_id}
        action = audit.AuditAction(f"rollback {way}")
        connection.execute(audit.entry(action, audit.phase(4), before=before.values, after=after.values, **who))
    return before, after
