"""The operator's pause of the rollout: while it lasts, nobody promotes, no sensor and no command; rollbacks work as always."""

from dataclasses import dataclass
from datetime import datetime

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.requirement import Requirement
from knowledge_migration.knowledge.audit import AuditAction, phase

EVIDENCE = "rollout_pause"


@dataclass(frozen=True)
class Pause:
    """Who paused the rollout, when and why."""

    by: str
    since: datetime
    reason: str


def read_pause(connection: Connection) -> Pause | None:
    """The present pause; None while the rollout may go on."""
    newest = evidence.latest(connection, EVIDENCE)
    if newest is None or not newest.content["paused"]:
        return None
    return Pause(newest.content["by"], newest.recorded_at, newest.content["reason"])


def set_pause(connection: Connection, *, paused: bool, reason: str, actor: str | None = None) -> bool:
    """Pauses or resumes the rollout; audited. False where it is so already."""
    by = actor or audit.operator()
    with connection.transaction():
        if (read_pause(connection) is not None) == paused:
            return False
        evidence.record(connection, EVIDENCE, {"paused": paused, "by": by, "reason": reason})
        action = AuditAction.PAUSE_ROLLOUT if paused else AuditAction.RESUME_ROLLOUT
        audit.record(connection, action, phase(4), reason=reason, actor=by)
    return True


def pause_requirement(connection: Connection) -> Requirement:
    """That the rollout is not paused."""
    pause = read_pause(connection)
    message = (
        f"{pause.by} paused it at {pause.since:%Y-%m-%d %H:%M} UTC: {pause.reason}."
        if pause
        else "the rollout may go on."
    )
    remedy = "Resume it: knowledge-migration cutover resume, or the page /migration."
    return Requirement("not paused", pause is None, message, remedy, essential=True, needed="no pause by an operator")
