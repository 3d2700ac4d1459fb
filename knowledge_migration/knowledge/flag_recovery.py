"""Restores the last audited flags where their row is lost or damaged (strategy §10.4); never touches a readable row.

Until then every process follows these flags already (see `flags.present_flags`), so this changes nothing that is in force.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from knowledge_migration.knowledge.flags import (
    Flags,
    FlagsError,
    flags_of,
    inserted_row,
    last_audited,
    refuse_without_reason,
    store,
    stored_row,
)


@dataclass(frozen=True)
class StoredFlags:
    """The damage of the row (None: it can be read), the flags in it, and the last audited flags."""

    damage: str | None
    stored: Flags | None
    audited: Flags | None
    exists: bool = True

    @property
    def never_set(self) -> bool:
        """Whether there is no row because nobody has set flags, or because they were removed with the schema."""
        return not self.exists and self.audited is None

    @property
    def differ(self) -> bool:
        """Whether a readable row was written without the audit log."""
        return bool(self.stored and self.stored.version and self.stored != self.audited)


def examine_flags(connection: sa.Connection) -> StoredFlags:
    """The state of the row. Reads only; raises `FlagsError` when the entry of the audit log cannot be read."""
    return _examined(stored_row(connection), last_audited(connection))


def restore_flags(
    connection: sa.Connection, *, actor: str, reason: str, dagster_run_id: str | None = None
) -> tuple[Flags, bool]:
    """Writes the last audited flags to a lost or damaged row, in the caller's transaction; returns whether it did.

    They get a version that no process has seen; the change is audited and notified. Returns the flags in force. Raises
    `FlagsError` where the audit log has no flags.
    """
    refuse_without_reason(reason)
    row, audited = stored_row(connection, lock=True), last_audited(connection)
    state = _examined(row, audited)
    if state.stored:
        return state.stored, False
    if audited is None:
        raise FlagsError("The audit log has no flags to restore. Set each flag: knowledge-migration flags set --reset.")
    if row is None:
        row = inserted_row(connection, audited)
        audited = last_audited(connection) or audited  # another process may have set them meanwhile
    after = audited.model_copy(update={"version": max(row["version"], audited.version) + 1})
    store(connection, row, after, actor=actor, reason=reason, dagster_run_id=dagster_run_id)
    return after, True


def _examined(row: sa.RowMapping | None, audited: Flags | None) -> StoredFlags:
    if row is None:
        return StoredFlags("The row is gone from feature_flags.", None, audited, exists=False)
    try:
        return StoredFlags(None, flags_of(row), audited)
    except FlagsError as error:
        return StoredFlags(str(error), None, audited)
