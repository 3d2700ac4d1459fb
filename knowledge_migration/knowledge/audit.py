"""The audit log: every action that an entry can name, the texts of its actors and subjects, and the entry itself.

Writers and readers use these constants; queries get them as parameters. The engine's `audit.record` writes the same entries.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import EntityKind
from knowledge_migration.knowledge.tables import audit_log


class AuditAction(StrEnum):
    """What an entry says was done."""

    SET_FLAGS = "set flags"
    CORRECT_LINK = "correct link"
    DELETE_ROW = "delete row"

    APPROVE_PROPOSAL = "approve proposal"
    AUTO_APPROVE_PROPOSAL = "auto_approve proposal"
    REPLAY_PROPOSAL = "replay proposal"
    REJECT_PROPOSAL = "reject proposal"
    MERGE_PROPOSAL = "merge proposal"
    PARK_PROPOSAL = "park proposal"
    UNDO_PROPOSAL = "undo proposal"
    REMOVE_SHADOW = "remove shadow"

    UPGRADE_SCHEMA = "schema upgrade"
    SET_BACKFILL_CONTROL = "set backfill control"
    NO_LIVE_WRITERS = "no live writers"
    QUARANTINE_RETRY = "quarantine retry"
    QUARANTINE_CLAMP = "quarantine clamp"
    QUARANTINE_ACCEPT = "quarantine accept"
    RECOVER_LEDGER = "recover ledger"
    CONFIRM_CRITERION = "confirm a criterion"
    WITHDRAW_CONFIRMATION = "withdraw a confirmation"

    PROMOTE_INTERNAL_BETA = "promote internal_beta"
    PROMOTE_GRADUAL_ROLLOUT = "promote gradual_rollout"
    PROMOTE_FULL_CUTOVER = "promote full_cutover"
    PAUSE_ROLLOUT = "pause rollout"
    RESUME_ROLLOUT = "resume rollout"
    OVERRIDE_REHEARSAL = "override rehearsal"
    OVERRIDE_PROMOTION = "override promotion"
    OVERRIDE_STABILITY = "override stability"
    LOWER_THRESHOLD = "guard lower threshold"

    ROLLBACK_INSTANT = "rollback instant"
    ROLLBACK_PARTIAL = "rollback partial"
    ROLLBACK_DUAL_WRITE_BEGUN = "rollback dual write begun"
    ROLLBACK_DUAL_WRITE = "rollback dual write"
    ROLLBACK_BACKFILL_BEGUN = "rollback backfill begun"
    ROLLBACK_BACKFILL = "rollback backfill"
    ROLLBACK_SCHEMA_BEGUN = "rollback schema begun"
    ROLLBACK_SCHEMA = "rollback schema"
    REPAIR_FROM_BACKUP_BEGUN = "repair from the backup begun"
    REPAIR_FROM_BACKUP = "repair from the backup"
    RESTORE_DATABASE_BEGUN = "restore of the whole database begun"
    RESTORE_DATABASE = "restore of the whole database"

    RETIRE_OLD_PATHS = "retire old paths"
    REQUIRE_PROPOSALS = "require proposals"
    NO_LONGER_REQUIRE_PROPOSALS = "no longer require proposals"
    ARCHIVE_EXTRACTIONS = "archive extractions"
    RESTORE_EXTRACTION = "restore archived extraction"
    DROP_INDEX = "drop index"
    INDEX_DROPPED = "index dropped"
    RECREATE_INDEX = "recreate index"


def _starting_with(*verbs: str) -> tuple[AuditAction, ...]:
    return tuple(action for action in AuditAction if action.partition(" ")[0] in verbs)


DECISIONS: Mapping[AuditAction, str] = {
    action: action.removesuffix(" proposal") for action in AuditAction if action.endswith(" proposal")
}
"""The decisions about a single proposal, each with the proposal's review action."""

ROW_CHANGES = (*DECISIONS, AuditAction.DELETE_ROW, AuditAction.REMOVE_SHADOW)
"""Entries about one proposal or row, which users cause by the thousand; all others are steps of the migration."""

APPROVALS = (AuditAction.APPROVE_PROPOSAL, AuditAction.AUTO_APPROVE_PROPOSAL, AuditAction.REPLAY_PROPOSAL)
"""The decisions that turn a proposal into a row."""

ROLLBACKS = _starting_with("rollback")
DATA_ROLLBACKS = tuple(
    action for action in ROLLBACKS if action not in (AuditAction.ROLLBACK_INSTANT, AuditAction.ROLLBACK_PARTIAL)
)
"""The rollbacks that remove proposals on purpose."""
ALERTED = _starting_with("rollback", "promote", "override", "guard")

USER_OF_ACTOR = r", user ([0-9]{1,18})$"
PROPOSAL = " proposal "
PROPOSAL_SUBJECT = f"^(topic|atom){PROPOSAL}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$"


def decision_action(review_action: str) -> AuditAction:
    """The action of the entry about a decision; raises `ValueError` for a review action that no decision has."""
    return AuditAction(f"{review_action} proposal")


def reviewer_actor(name: str, user_id: int | None) -> str:
    """The actor of a reviewer's entry; `USER_OF_ACTOR` finds the user again."""
    return name if user_id is None else f"{name}, user {user_id}"


def phase(number: int) -> str:
    """The subject of an entry about a whole phase."""
    return f"phase {number}"


def proposal_subject(kind: EntityKind, proposal_id: UUID) -> str:
    """The subject of an entry about a proposal."""
    return f"{kind.name}{PROPOSAL}{proposal_id}"


def proposal_of(subject: str) -> tuple[str, UUID]:
    """The kind and the id of the proposal that an entry is about, of a subject that matches `PROPOSAL_SUBJECT`."""
    kind, _, proposal_id = subject.partition(PROPOSAL)
    return kind, UUID(proposal_id)


def entry(
    action: AuditAction,
    subject: str,
    *,
    actor: str,
    reason: str | None = None,
    before: Any = None,
    after: Any = None,
    dagster_run_id: str | None = None,
) -> sa.Insert:
    """The statement that writes one entry; for the transaction that does what the entry says."""
    values = {"reason": reason, "before": before, "after": after, "dagster_run_id": dagster_run_id}
    stated = {name: value for name, value in values.items() if value is not None}
    return sa.insert(audit_log).values(actor=actor, action=AuditAction(action), subject=subject, **stated)
