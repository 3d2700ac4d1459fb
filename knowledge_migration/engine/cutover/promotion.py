"""Promotes the cutover to a stage: only on evidence, through the audited flags, and recorded once everybody obeys (strategy §6).

What is missing refuses it, by name, with what to do; an override needs a reason and says in the audit log what it overrode.
The flags are set only if they still are what was judged. Killed after that, the same promotion again waits for obedience and
records it.
"""

import time
from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.cutover.readiness import Readiness
from knowledge_migration.engine.cutover.state import position
from knowledge_migration.engine.dual_write.fence import wait_until_acknowledged
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.flags import Flags, FlagsError, set_flags
from knowledge_migration.knowledge.stages import STAGE_FLAGS, Stage
from knowledge_migration.knowledge.writers import FenceTimeouts

EVIDENCE = "cutover_stage"
WORK = "cutover promotion"
SHOWN = 8


class NotReadyError(PreconditionError):
    """A promotion was asked for that something forbids; `readiness` says what."""

    def __init__(self, message: str, readiness: Readiness) -> None:
        super().__init__(message)
        self.readiness = readiness


@dataclass(frozen=True)
class Promotion:
    """A stage that stands: its flags, who obeys, seconds until the last one did, and what was overridden."""

    stage: Stage
    before: Flags
    after: Flags
    processes: tuple[str, ...]
    seconds: float
    overridden: tuple[str, ...]


def promote(
    database: Database,
    initial: Flags,
    timeouts: FenceTimeouts,
    ready: Readiness,
    *,
    reason: str,
    override_reason: str | None = None,
    admin_user_ids: tuple[int, ...] | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> Promotion:
    """Sets the stage's flags, waits until every live process obeys, and records it; audited.

    Raises `NotReadyError` naming everything that is missing, `PreconditionError` when the flags have changed since they
    were judged (a way back was taken, say), `BlockedError` naming who does not obey: the flags stay set then.
    """
    overridden = _overridden(ready, override_reason)
    started = time.perf_counter()
    changes: dict[str, Any] = {**STAGE_FLAGS[ready.stage]}
    if admin_user_ids is not None and ready.stage == "internal_beta":
        changes["admin_user_ids"] = admin_user_ids
    if ready.stage == "full_cutover":
        changes["dual_write"] = not ready.window_closed
    with database.connect(WORK) as connection, advisory_lock(connection, WORK):
        before, who = ready.position.flags, actor or audit.operator()
        words = reason if override_reason is None else f"{reason}; overridden because {override_reason}"
        try:
            with database.begin() as transaction:
                after = set_flags(
                    transaction,
                    changes,
                    initial=initial,
                    actor=who,
                    reason=words,
                    expected_version=before.version,
                    dagster_run_id=dagster_run_id,
                )
                _refuse_an_empty_beta(ready.stage, after)
                if overridden:
                    audit.record(
                        transaction,
                        AuditAction.OVERRIDE_PROMOTION,
                        ready.stage,
                        reason=override_reason,
                        after={"overridden": list(overridden)},
                        actor=who,
                        dagster_run_id=dagster_run_id,
                    )
        except FlagsError as error:
            raise PreconditionError(f"{error} Nothing was promoted; look at the stage again.") from error
        processes = wait_until_acknowledged(database, after, timeouts)
        seconds = time.perf_counter() - started
        _refuse_if_gone_back(database, after)
        content = {
            "stage": ready.stage,
            "flag_version": after.version,
            "processes": list(processes),
            "seconds": round(seconds, 3),
            "overridden": list(overridden),
            "verdicts": [one.as_row() for one in ready.evaluations],
        }
        known = evidence.latest(connection, EVIDENCE)
        if known and (known.content["stage"], known.content["flag_version"]) == (ready.stage, after.version):
            return Promotion(ready.stage, before, after, processes, seconds, overridden)
        with connection.transaction():
            evidence.record(connection, EVIDENCE, content, dagster_run_id=dagster_run_id)
            audit.record(
                connection,
                AuditAction(f"promote {ready.stage}"),
                "phase 4",
                before=before.values,
                after=after.values,
                reason=words,
                actor=who,
                dagster_run_id=dagster_run_id,
            )
    return Promotion(ready.stage, before, after, processes, seconds, overridden)


def _overridden(ready: Readiness, override_reason: str | None) -> tuple[str, ...]:
    """The names of what is missing and overridden; raises `NotReadyError` where that is not allowed."""
    essential = [one for one in ready.missing if one.essential]
    if ready.ready or (override_reason and override_reason.strip() and not essential):
        return tuple(one.name for one in ready.missing)
    refused = essential or list(ready.missing)
    told = " ".join(f"{number}. {one.sentence}" for number, one in enumerate(refused[:SHOWN], start=1))
    more = f" And {len(refused) - SHOWN} more." if len(refused) > SHOWN else ""
    how = "" if essential else " To promote all the same, give an override reason; it goes to the audit log."
    raise NotReadyError(
        f"{ready.stage} is not proven: {len(refused)} of {len(ready.requirements)} requirements are missing. "
        f"{told}{more}{how} Nothing was changed.",
        ready,
    )


def _refuse_an_empty_beta(stage: Stage, flags: Flags) -> None:
    if stage == "internal_beta" and not flags.admin_user_ids:
        raise FlagsError(
            "The internal beta is for listed admins only, and none is listed: KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS=[1, 7] "
            "names them."
        )


def _refuse_if_gone_back(database: Database, after: Flags) -> None:
    now = position(database).flags
    if now.version != after.version and now.state != after.state:
        raise PreconditionError(
            f"While the processes were waited for, somebody set the flags to {now.state} (version {now.version}): a way "
            "back, most likely. The stage is not recorded as reached."
        )
