"""Promotes the cutover to a stage: on evidence only, through the audited flags; recorded once acknowledged (strategy §6).

A missing requirement refuses the promotion, with its remedy; an override needs a reason and is recorded. The flags are set only
if they still have the evaluated version. If it is killed after that, a second run waits for acknowledgement and records it.
"""

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from knowledge_migration.engine.cutover.readiness import Readiness
from knowledge_migration.engine.dual_write.fence import wait_until_acknowledged
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge.audit import AuditAction, phase
from knowledge_migration.knowledge.flags import Flags, FlagsError, flags_of, set_flags, stored_row
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.settings import FenceSettings
from knowledge_migration.thresholds import Stage

EVIDENCE = "cutover_stage"
WORK = "cutover promotion"
SHOWN = 8


class NotReadyError(PreconditionError):
    """A promotion is refused; `readiness` has the missing requirements."""

    def __init__(self, message: str, readiness: Readiness) -> None:
        super().__init__(message)
        self.readiness = readiness


@dataclass(frozen=True)
class Promotion:
    """A reached stage: its flags, the processes that acknowledged them, the seconds until the last did, the overrides."""

    stage: Stage
    before: Flags
    after: Flags
    processes: tuple[str, ...]
    seconds: float
    overridden: tuple[str, ...]


def promote(
    database: Database,
    initial: Flags,
    timeouts: FenceSettings,
    ready: Readiness,
    *,
    reason: str,
    override_reason: str | None = None,
    admin_user_ids: tuple[int, ...] | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> Promotion:
    """Sets the stage's flags, waits until every live process has acknowledged them, and records it; audited.

    Raises `NotReadyError` naming everything that is missing, `PreconditionError` when the flags have changed since the
    evaluation (by a rollback, for example), `BlockedError` naming the processes that do not acknowledge: the flags stay set then.
    """
    overridden = _overridden(ready, override_reason)
    started = time.perf_counter()
    before = ready.state.flags
    who: dict[str, Any] = {"actor": actor or audit.operator(), "dagster_run_id": dagster_run_id}
    full_reason = reason if override_reason is None else f"{reason}; overridden because {override_reason}"
    with database.connect(WORK) as connection, advisory_lock(connection, WORK):
        try:
            with database.begin() as transaction:
                after = set_flags(
                    transaction,
                    _stage_flags(ready, admin_user_ids),
                    initial=initial,
                    reason=full_reason,
                    expected_version=before.version,
                    **who,
                )
                _refuse_an_empty_beta(ready.stage, after)
                if overridden:
                    after_ = {"overridden": list(overridden)}
                    action = AuditAction.OVERRIDE_PROMOTION
                    audit.record(transaction, action, ready.stage, reason=override_reason, after=after_, **who)
        except FlagsError as error:
            raise PreconditionError(f"{error} Nothing was promoted; check the stage again.") from error
        processes = wait_until_acknowledged(database, after, timeouts)
        done = Promotion(ready.stage, before, after, processes, time.perf_counter() - started, overridden)
        _record(database, connection, ready, done, reason=full_reason, **who)
    return done


def _stage_flags(ready: Readiness, admin_user_ids: tuple[int, ...] | None) -> dict[str, Any]:
    changes: dict[str, Any] = {**STAGE_FLAGS[ready.stage]}
    if admin_user_ids is not None and ready.stage == "internal_beta":
        changes["admin_user_ids"] = admin_user_ids
    if ready.stage == "full_cutover":
        changes["dual_write"] = not ready.window_closed
    return changes


def _record(
    database: Database,
    connection: Connection,
    ready: Readiness,
    done: Promotion,
    *,
    reason: str,
    actor: str,
    dagster_run_id: str | None,
) -> None:
    """Once per stage and flag version, in the transaction that locks the flags and finds them as they were set."""
    known = evidence.latest(connection, EVIDENCE)
    if known and (known.content["stage"], known.content["flag_version"]) == (done.stage, done.after.version):
        return
    content = {
        "stage": done.stage,
        "flag_version": done.after.version,
        "processes": list(done.processes),
        "seconds": round(done.seconds, 3),
        "overridden": list(done.overridden),
        "verdicts": [evaluation.as_row() for evaluation in ready.evaluations],
    }
    with database.begin() as transaction:
        _refuse_other_flags(transaction, done.after)
        recording = transaction.connection.driver_connection
        assert recording is not None  # the transaction is open
        evidence.record(recording, EVIDENCE, content, dagster_run_id=dagster_run_id)
        audit.record(
            transaction,
            AuditAction(f"promote {done.stage}"),
            phase(4),
            before=done.before.values,
            after=done.after.values,
            reason=reason,
            actor=actor,
            dagster_run_id=dagster_run_id,
        )


def may_override(ready: Readiness, reason: str | None) -> bool:
    """Whether this reason overrides everything that is missing."""
    return bool(reason and reason.strip()) and not any(one.essential for one in ready.missing)


def _overridden(ready: Readiness, override_reason: str | None) -> tuple[str, ...]:
    """The names of missing requirements that are overridden; raises `NotReadyError` where that is not allowed."""
    essential = [requirement for requirement in ready.missing if requirement.essential]
    if ready.ready or may_override(ready, override_reason):
        return tuple(requirement.name for requirement in ready.missing)
    refused = essential or list(ready.missing)
    listed = " ".join(f"{number}. {missing.sentence}" for number, missing in enumerate(refused[:SHOWN], start=1))
    more = f" And {len(refused) - SHOWN} more." if len(refused) > SHOWN else ""
    how = "" if essential else " To promote anyway, give an override reason; it is recorded in the audit log."
    raise NotReadyError(
        f"{ready.stage} is not ready: {len(refused)} of {len(ready.requirements)} requirements are missing. "
        f"{listed}{more}{how} Nothing was changed.",
        ready,
    )


def _refuse_an_empty_beta(stage: Stage, flags: Flags) -> None:
    if stage == "internal_beta" and not flags.admin_user_ids:
        raise FlagsError(
            "The internal beta is for listed admins only, and none is listed: KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS=[1, 7] "
            "lists them."
        )


def _refuse_other_flags(transaction: sa.Connection, after: Flags) -> None:
    """Locks the row of the flags until the transaction ends; raises `PreconditionError` unless it is as it was set."""
    row = stored_row(transaction, lock=True)
    now = flags_of(row) if row else None
    if now != after:
        state = f"set the flags to {now.state} (version {now.version})" if now else "removed the flags"
        raise PreconditionError(
            f"While the promotion waited for acknowledgement, somebody {state}, probably by a rollback. The stage is not "
            "recorded as reached; check the state, then promote again."
        )
