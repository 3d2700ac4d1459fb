"""The duration of a stable full cutover, from the audit log (strategy §11.3: two weeks). Reads only.

The count begins when the flags reach full cutover, and begins again after every change that leaves it and every rollback.
If the log cannot tell (unset flags, a row changed without the audited function), that is an obstacle, not stability.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import translate_knowledge_errors
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import ROLLBACKS, AuditAction
from knowledge_migration.knowledge.flags import FLAG_NAME, Flags, read_flags


@dataclass(frozen=True)
class Breach:
    """The last end of a full cutover: a change of the flags, or a rollback."""

    at: datetime
    actor: str
    change: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.change} at {self.at:%Y-%m-%d %H:%M} UTC by {self.actor} ({self.reason or 'no reason given'})"


@dataclass(frozen=True)
class Stability:
    """The begin of the current full cutover (None: there is none), its last end, and an obstacle to telling."""

    now: datetime
    required_days: float
    since: datetime | None
    broken_by: Breach | None
    obstacle: str | None
    flags: Flags | None

    @property
    def days(self) -> float:
        """Days of stable full cutover."""
        return max((self.now - self.since) / timedelta(days=1), 0.0) if self.since else 0.0

    @property
    def missing_days(self) -> float:
        """Days until the required number."""
        return max(self.required_days - self.days, 0.0)

    @property
    def is_reached(self) -> bool:
        """True if full cutover has been stable for the required days."""
        return self.since is not None and self.obstacle is None and self.missing_days == 0

    @property
    def sentence(self) -> str:
        """The state as a sentence."""
        last = f" Last interrupted by: {self.broken_by}." if self.broken_by else ""
        if self.obstacle:
            return f"{self.obstacle}{last}"
        if self.since is None:
            return f"The flags are not at full cutover.{last}"
        duration = f"Full cutover is active since {self.since:%Y-%m-%d %H:%M} UTC, {self.days:.1f} days"
        if self.is_reached:
            return f"{duration} (required: {self.required_days:g}).{last}"
        return f"{duration}; {self.missing_days:.1f} of the required {self.required_days:g} days are missing.{last}"

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


def stability(database: Database, *, required_days: float, now: datetime | None = None) -> Stability:
    """The stability by audit log and flags at this moment; raises `PreconditionError` for unreadable flags."""
    parameters = {"flags": FLAG_NAME, "set_flags": AuditAction.SET_FLAGS, "rollbacks": list(ROLLBACKS)}
    with translate_knowledge_errors(), database.begin() as transaction:
        transaction.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        flags = read_flags(transaction)
        history = list(transaction.exec_driver_sql(text_of("cleanup/flag_history"), parameters).mappings())
    since, broken_by = _since(history)
    return Stability(now or datetime.now(UTC), required_days, since, broken_by, _obstacle(flags, history), flags)


def _since(history: list[sa.RowMapping]) -> tuple[datetime | None, Breach | None]:
    """The begin of the current full cutover, and the end of the one before it."""
    since: datetime | None = None
    broken_by: Breach | None = None
    version: int | None = None
    for entry in history:
        is_rollback = _is_rollback(entry)
        flags = None if is_rollback else _flags_after(entry)
        is_full = flags is not None and flags.state == "full"
        if flags and version and since and flags.version > version + 1:
            broken_by = Breach(entry["at"], "somebody", "flags changed without the audited function before", None)
            since = None
        version = flags.version if flags else version
        if is_full and since is None:
            since = entry["at"]
        if not is_full and since is not None:
            change = f"flags set to state {flags.state}" if flags else "flags set to an unreadable state"
            change = f"{entry['action']} ({entry['subject']})" if is_rollback else change
            broken_by = Breach(entry["at"], entry["actor"], change, entry["reason"])
            since = entry["at"] if is_rollback else None
    return since, broken_by


def _is_rollback(entry: sa.RowMapping) -> bool:
    return bool(entry["action"] != AuditAction.SET_FLAGS)


def _flags_after(entry: sa.RowMapping) -> Flags | None:
    try:
        return Flags(**entry["after"])
    except (ValidationError, TypeError):
        return None


def _obstacle(flags: Flags | None, history: list[sa.RowMapping]) -> str | None:
    changes = [entry for entry in history if not _is_rollback(entry)]
    if flags is None or not flags.version or not changes:
        return "The flags were never set, so the begin of the full cutover is unknown."
    audited = _flags_after(changes[-1])
    if audited != flags:
        return (
            f"The flags (version {flags.version}) differ from the last entry of the audit log (version "
            f"{audited.version if audited else 'unreadable'}): their row was changed without the audited function. Set "
            "the flags again (knowledge-migration flags set); the count begins there."
        )
    return None
