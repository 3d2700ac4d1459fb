"""Since when the full cutover has been stable, as the audit log has it (strategy §11.3: two weeks).

The count begins when the flags come to full cutover, and anew with every change that leaves it and with every rollback.
What the log cannot tell is an obstacle, never stability: flags that nobody has set, or a row that somebody changed beside
the audited function. Reads only.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import ROLLBACKS, AuditAction
from knowledge_migration.knowledge.flags import FLAG_NAME, Flags, FlagsError, read_flags

STABLE_DAYS = 14.0


@dataclass(frozen=True)
class Breach:
    """What ended a full cutover last: a change of the flags, or a rollback."""

    at: datetime
    actor: str
    what: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.what} at {self.at:%Y-%m-%d %H:%M} UTC by {self.actor} ({self.reason or 'no reason given'})"


@dataclass(frozen=True)
class Stability:
    """Since when full cutover stands (None: it does not), what broke it last, and what keeps the log from telling."""

    now: datetime
    required_days: float
    since: datetime | None
    broken_by: Breach | None
    obstacle: str | None
    flags: Flags | None

    @property
    def days(self) -> float:
        """Days of stable full cutover until now."""
        return max((self.now - self.since) / timedelta(days=1), 0.0) if self.since else 0.0

    @property
    def missing_days(self) -> float:
        """Days that are missing; 0 when it is long enough."""
        return max(self.required_days - self.days, 0.0)

    @property
    def holds(self) -> bool:
        """Whether full cutover has been stable for as long as it must."""
        return self.since is not None and self.obstacle is None and self.missing_days == 0

    @property
    def sentence(self) -> str:
        """The state in plain words."""
        last = f" Broken last by: {self.broken_by}." if self.broken_by else ""
        if self.obstacle:
            return f"{self.obstacle}{last}"
        if self.since is None:
            return f"The flags are not at full cutover.{last}"
        stands = f"Full cutover stands since {self.since:%Y-%m-%d %H:%M} UTC, {self.days:.1f} days"
        if self.holds:
            return f"{stands} (required: {self.required_days:g}).{last}"
        return f"{stands}; {self.missing_days:.1f} of the required {self.required_days:g} days are missing.{last}"

    @property
    def as_json(self) -> dict[str, Any]:
        """For the audit log and the evidence."""
        return {
            "since": self.since.isoformat() if self.since else None,
            "days": round(self.days, 3),
            "required_days": self.required_days,
            "broken_by": str(self.broken_by) if self.broken_by else None,
            "obstacle": self.obstacle,
        }


def stability(database: Database, *, required_days: float = STABLE_DAYS, now: datetime | None = None) -> Stability:
    """What the audit log and the flags say at this moment; raises `PreconditionError` for flags that cannot be read."""
    try:
        with database.begin() as transaction:
            transaction.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            flags = read_flags(transaction)
            parameters = {"flags": FLAG_NAME, "set_flags": AuditAction.SET_FLAGS, "rollbacks": list(ROLLBACKS)}
            entries = transaction.exec_driver_sql(text_of("cleanup/flag_history"), parameters)
            history = list(entries.mappings())
    except FlagsError as error:
        raise PreconditionError(str(error)) from error
    since, broken_by = _since(history)
    obstacle = _obstacle(flags, history)
    return Stability(now or datetime.now(UTC), required_days, since, broken_by, obstacle, flags)


def _since(history: list[sa.RowMapping]) -> tuple[datetime | None, Breach | None]:
    """When the full cutover that still stands began, and what ended the one before it."""
    since: datetime | None = None
    broken_by: Breach | None = None
    for entry in history:
        full = _is_full(entry)
        if full and since is None:
            since = entry["at"]
        if not full and since is not None:
            broken_by = Breach(entry["at"], entry["actor"], _what(entry), entry["reason"])
            since = entry["at"] if _is_rollback(entry) else None
    return since, broken_by


def _is_rollback(entry: sa.RowMapping) -> bool:
    return bool(entry["action"] != AuditAction.SET_FLAGS)


def _is_full(entry: sa.RowMapping) -> bool:
    flags = None if _is_rollback(entry) else _flags_after(entry)
    return flags is not None and flags.state == "full"


def _flags_after(entry: sa.RowMapping) -> Flags | None:
    try:
        return Flags(**entry["after"])
    except (ValidationError, TypeError):
        return None


def _what(entry: sa.RowMapping) -> str:
    if _is_rollback(entry):
        return f"{entry['action']} ({entry['subject']})"
    after = _flags_after(entry)
    return f"flags set to state {after.state}" if after else "flags set to what cannot be read"


def _obstacle(flags: Flags | None, history: list[sa.RowMapping]) -> str | None:
    changes = [entry for entry in history if not _is_rollback(entry)]
    if flags is None or not flags.version or not changes:
        return "Nobody has ever set the flags, so since when full cutover stands cannot be told."
    audited = _flags_after(changes[-1])
    if audited != flags:
        return (
            f"The flags (version {flags.version}) are not what the audit log has last (version "
            f"{audited.version if audited else 'unreadable'}): somebody changed the row beside the audited function. Set "
            "them again (knowledge-migration flags set), and the count begins there."
        )
    return None
