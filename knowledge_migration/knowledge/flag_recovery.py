"""Brings back the flags when their row is lost or damaged: what the audit log says they were last (strategy §10.4).

Until then every process obeys those already (see `flags.present_flags`), so nothing is decided here that was not in force.
A row that can be read is never touched: `flags.set_flags` changes that.
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
class FlagsFound:
    """The state of the row (None: it can be read), the flags that it holds, and those that were last audited."""

    damage: str | None
    stored: Flags | None
    audited: Flags | None
    is_there: bool = True

    @property
    def never_set(self) -> bool:
        """Whether there is no row because nobody has set any flags, or because they were given up with the schema."""
        return not self.is_there and self.audited is None

    @property
    def differ(self) -> bool:
        """Whether somebody has written a readable row without the audit log."""
        return bool(self.stored and self.stored.version and self.stored != self.audited)


def examine_flags(connection: sa.Connection) -> FlagsFound:
    """What there is to recover. Reads only; raises `FlagsError` when the audit log's own entry cannot be read."""
    return _found(stored_row(connection), last_audited(connection))


def restore_flags(
    connection: sa.Connection, *, actor: str, reason: str, dagster_run_id: str | None = None
) -> tuple[Flags, bool]:
    """The flags that are in force afterwards, and whether the row was written; in the caller's transaction.

    The row becomes what was last audited, under a version that no process has seen; audited and notified. Raises
    `FlagsError` where the audit log holds no flags.
    """
    refuse_without_reason(reason)
    row, audited = stored_row(connection, lock=True), last_audited(connection)
    found = _found(row, audited)
    if found.stored:
        return found.stored, False
    if audited is None:
        raise FlagsError(
            "The audit log holds no flags that could be brought back. Set each: knowledge-migration flags set --reset."
        )
    if row is None:
        row = inserted_row(connection, audited)
        audited = (
            last_audited(connection) or audited
        )  # somebody else may have brought them back, or set others, meanwhile
    after = audited.model_copy(update={"version": max(row["version"], audited.version) + 1})
    store(connection, row, after, actor=actor, reason=reason, dagster_run_id=dagster_run_id)
    return after, True


def _found(row: sa.RowMapping | None, audited: Flags | None) -> FlagsFound:
    if row is None:
        return FlagsFound("The row is gone from feature_flags.", None, audited, is_there=False)
    try:
        return FlagsFound(None, flags_of(row), audited)
    except FlagsError as error:
        return FlagsFound(str(error), None, audited)
