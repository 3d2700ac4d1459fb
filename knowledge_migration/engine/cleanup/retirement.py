"""Retires direct writes and dual write (strategy §11.3, ERRATA V14, V18): not by deleting code, but by a lock that is audited.

In this order, so that nobody ever meets a refusal: dual write off and the lock set, in one change of the flags; every live
process obeys and older transactions have ended; then the database itself refuses rows without a proposal. `reopen` goes
the other way round. Refuses before full cutover has been stable long enough, unless an override says why. One operator at a
time; killed anywhere, a second run of either completes it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knowledge_migration.engine.cleanup import completeness
from knowledge_migration.engine.cleanup.stability import STABLE_DAYS, Stability, stability
from knowledge_migration.engine.dual_write.fence import live_writers, wait_until_fenced
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.flags import Flags, FlagsError, read_flags, set_flags
from knowledge_migration.settings import FenceSettings, SchemaChangeSettings

WORK = "retiring the old paths"
EVIDENCE = "legacy_path_retirement"
SUBJECT = "phase 5"
RETIRED = {"dual_write": False, "legacy_paths_retired": True}
REOPENED = {"dual_write": True, "legacy_paths_retired": False}
# Validation scans whole tables: a limit of the role is meant for the application's statements.
SESSION = {"statement_timeout": "0"}


@dataclass(frozen=True)
class Readiness:
    """What stands in the way of a retirement, or of its last step. Nothing was changed to learn this."""

    stability: Stability
    retired: bool
    constraints: Mapping[str, completeness.State]
    unlinked: tuple[completeness.Unlinked, ...]
    live_writers: tuple[str, ...]

    @property
    def obstacles(self) -> tuple[str, ...]:
        """What a retirement would be refused for, in words."""
        early = () if self.retired or self.stability.holds else (self.stability.sentence,)
        return (*early, *(rows.sentence for rows in self.unlinked if rows.count))


@dataclass(frozen=True)
class Retirement:
    """What was done: the flags, what was overridden, and of each table the state of the rule before; None: left without it."""

    flags: Flags
    stability: Stability
    overridden: bool
    writers: tuple[str, ...]
    constraints: Mapping[str, completeness.State | None]
    seconds: float


@dataclass(frozen=True)
class Reopening:
    """The flags after it, and the tables that may have rows without a proposal again."""

    flags: Flags
    released: tuple[str, ...]


def readiness(
    database: Database,
    *,
    required_days: float = STABLE_DAYS,
    live_seconds: float,
    without: Sequence[str] = (),
    now: datetime | None = None,
) -> Readiness:
    """How far a retirement would come; reads only, each table once."""
    _require_schema(database)
    stable = stability(database, required_days=required_days, now=now)
    with database.connect("cleanup status", settings=SESSION) as connection:
        return Readiness(
            stable,
            stable.flags is not None and stable.flags.legacy_paths_retired,
            completeness.states(connection),
            tuple(completeness.unlinked(connection, kind) for kind in _enforced(without)),
            tuple(row["process"] for row in live_writers(connection, live_seconds)),
        )


def retire(
    database: Database,
    initial: Flags,
    timeouts: FenceSettings,
    limits: SchemaChangeSettings,
    *,
    reason: str,
    override: str | None = None,
    without: Sequence[str] = (),
    required_days: float = STABLE_DAYS,
    no_live_writers: bool = False,
    now: datetime | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> Retirement:
    """Retires the old paths; does nothing twice. `without` names tables that stay without the rule of completeness.

    Raises `PreconditionError` before full cutover has been stable for `required_days` (unless `override` says why it may
    be sooner; that is audited) or while rows have no proposal, `BlockedError` naming who does not obey or holds a table,
    `BusyError` beside another operator. Where it says that the flags stay set, run it again.
    """
    started = time.perf_counter()
    _require_schema(database)
    audited: dict[str, Any] = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
    with database.connect("cleanup", settings=SESSION) as connection, advisory_lock(connection, WORK):
        stable = stability(database, required_days=required_days, now=now)
        entities = _enforced(without)
        due = [kind for kind in entities if completeness.states(connection)[kind.table] != "validated"]
        locked = stable.flags is not None and stable.flags.legacy_paths_retired
        if not locked:
            _refuse_early(stable, override)
            completeness.require_complete(connection, entities)
        flags = _lock(database, initial, stable, override=override, **audited)
        writers: tuple[str, ...] = ()
        if due or not locked:
            writers = wait_until_fenced(database, flags, timeouts, need_one=not no_live_writers)
        constraints: dict[str, completeness.State | None] = {kind.table: None for kind in KINDS}
        for kind in entities:
            constraints[kind.table] = completeness.enforce(connection, kind, limits, **audited)
        done = {"flag_version": flags.version, "writers": list(writers), "constraints": constraints}
        overridden = overridden_since(connection, stable.since)
        with connection.transaction():
            evidence.record(
                connection,
                EVIDENCE,
                {**done, "without": sorted(without), "overridden": overridden, "stability": stable.as_json},
                dagster_run_id=dagster_run_id,
            )
            audit.record(
                connection, AuditAction.RETIRE_OLD_PATHS, SUBJECT, after={**done, "without": sorted(without)}, **audited
            )
    return Retirement(flags, stable, overridden, writers, constraints, time.perf_counter() - started)


def reopen(
    database: Database,
    initial: Flags,
    limits: SchemaChangeSettings,
    *,
    reason: str,
    actor: str | None = None,
    dagster_run_id: str | None = None,
) -> Reopening:
    """Undoes a retirement: the rules first, then the lock, with dual write on again, so that a way back exists.

    Extractions stay proposals: switching those off is a rollback of its own. Raises `BlockedError` naming who holds a
    table, `BusyError` beside another operator.
    """
    _require_schema(database)
    audited: dict[str, Any] = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
    with database.connect("cleanup", settings=SESSION) as connection, advisory_lock(connection, WORK):
        released = tuple(kind.table for kind in KINDS if completeness.release(connection, kind, limits, **audited))
        try:
            with database.begin() as transaction:
                now = read_flags(transaction)
                if now is None or not now.legacy_paths_retired:
                    return Reopening(now or initial, released)
                flags = set_flags(
                    transaction,
                    REOPENED,
                    initial=initial,
                    actor=actor or audit.operator(),
                    reason=reason,
                    dagster_run_id=dagster_run_id,
                )
        except FlagsError as error:
            raise PreconditionError(str(error)) from error
    return Reopening(flags, released)


def overridden_since(connection: Connection, since: datetime | None) -> bool:
    """Whether the stability of the full cutover that began then was overridden; of one that is over it counts no more."""
    if since is None:
        return False
    row = connection.execute(
        text_of("cleanup/overridden"), {"subject": SUBJECT, "action": AuditAction.OVERRIDE_STABILITY, "since": since}
    ).fetchone()
    return row is not None and bool(row["overridden"])


def _require_schema(database: Database) -> None:
    differences = proposal_differences(database)
    if differences:
        raise PreconditionError(
            f"The schema is not as phase 1 leaves it ({len(differences)} differences, first: {differences[0].object} is "
            f"{differences[0].found}). Run phase 1 (job phase_1_schema) first."
        )


def _enforced(without: Sequence[str]) -> tuple[EntityKind, ...]:
    unknown = sorted(set(without) - {kind.table for kind in KINDS})
    if unknown:
        raise MigrationError(f"There is no table {', '.join(unknown)} to leave out; there are topics and atoms.")
    return tuple(kind for kind in KINDS if kind.table not in without)


def _refuse_early(stable: Stability, override: str | None) -> None:
    if stable.flags is None or stable.flags.state != "full":
        raise PreconditionError(
            f"{stable.sentence} The old paths are retired only when every extraction is a proposal: promote the cutover to "
            "its last stage first. No override helps here. Nothing was changed."
        )
    if not stable.holds and not (override and override.strip()):
        raise PreconditionError(
            f"{stable.sentence} Wait, or override this with a reason (--override); it goes to the audit log. "
            "Nothing was changed."
        )


def _lock(
    database: Database,
    initial: Flags,
    stable: Stability,
    *,
    override: str | None,
    reason: str,
    actor: str | None,
    dagster_run_id: str | None,
) -> Flags:
    """Sets the flags that were judged, and no others; what was overridden is audited in the same transaction."""
    assert stable.flags is not None
    if stable.flags.legacy_paths_retired:
        return stable.flags
    actor = actor or audit.operator()
    try:
        with database.begin() as transaction:
            if not stable.holds:
                who = {"actor": actor, "dagster_run_id": dagster_run_id}
                action = AuditAction.OVERRIDE_STABILITY
                audit.record(transaction, action, SUBJECT, before=stable.as_json, reason=override, **who)
            return set_flags(
                transaction,
                RETIRED,
                initial=initial,
                actor=actor,
                reason=reason,
                expected_version=stable.flags.version,
                dagster_run_id=dagster_run_id,
            )
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error
