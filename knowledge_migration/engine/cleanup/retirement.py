"""Retires direct writes and dual write with an audited lock (strategy §11.3, ERRATA V14, V18).

The order prevents a refused write: one change of the flags switches dual write off and sets the lock; every live process
acknowledges it and older transactions end; then the database refuses rows without a proposal. `reopen` reverses the order.
After a crash, run either again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Unpack

import sqlalchemy as sa

from knowledge_migration.engine.cleanup import completeness
from knowledge_migration.engine.cleanup.stability import Stability, stability
from knowledge_migration.engine.dual_write.fence import live_writers, wait_until_fenced
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.catalog import require_proposal_schema
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError, translate_knowledge_errors
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
# Validation scans whole tables; a statement_timeout of the role is meant for the statements of the application.


@dataclass(frozen=True)
class Readiness:
    """The obstacles of a retirement, or of its last step; read without a change."""

    stability: Stability
    retired: bool
    constraints: Mapping[str, completeness.State]
    unlinked: tuple[completeness.Unlinked, ...]
    live_writers: tuple[str, ...]

    @property
    def obstacles(self) -> tuple[str, ...]:
        """The reasons for which a retirement would be refused."""
        early = () if self.retired or self.stability.is_reached else (self.stability.sentence,)
        return (*early, *(rows.sentence for rows in self.unlinked if rows.count))


@dataclass(frozen=True)
class Retirement:
    """A retirement: the flags, the override, and the state of each table's rule before it; None: left without the rule."""

    flags: Flags
    stability: Stability
    overridden: bool
    writers: tuple[str, ...]
    constraints: Mapping[str, completeness.State | None]
    seconds: float


@dataclass(frozen=True)
class Reopening:
    """The flags after a reopening, and the tables that accept rows without a proposal again."""

    flags: Flags
    released: tuple[str, ...]


def readiness(
    database: Database,
    *,
    required_days: float,
    live_seconds: float,
    without: Sequence[str] = (),
    now: datetime | None = None,
) -> Readiness:
    """The obstacles of a retirement now; reads each table once."""
    require_proposal_schema(database)
    stable = stability(database, required_days=required_days, now=now)
    with database.connect("cleanup status") as connection:
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
    required_days: float,
    override: str | None = None,
    without: Sequence[str] = (),
    no_live_writers: bool = False,
    now: datetime | None = None,
    **attribution: Unpack[audit.Attribution],
) -> Retirement:
    """Retires the old paths; idempotent. `without` names tables that stay without the rule of completeness.

    Raises `PreconditionError` before full cutover has been stable for `required_days` (unless `override` gives a reason,
    which is audited) or while rows have no proposal, `BlockedError` naming the process that does not acknowledge or that
    holds a table, `BusyError` while another operator works. If the message says that the flags stay set, run it again.
    """
    started = time.perf_counter()
    require_proposal_schema(database)
    with database.connect("cleanup") as connection, advisory_lock(connection, WORK):
        stable = stability(database, required_days=required_days, now=now)
        entities = _enforced(without)
        due = [kind for kind in entities if completeness.states(connection)[kind.table] != "validated"]
        locked = stable.flags is not None and stable.flags.legacy_paths_retired
        if not locked:
            _refuse_early(stable, override)
            completeness.require_complete(connection, entities)
        flags = _lock(database, initial, stable, override, attribution)
        writers: tuple[str, ...] = ()
        if due or not locked:
            writers = wait_until_fenced(database, flags, timeouts, need_one=not no_live_writers)
        constraints: dict[str, completeness.State | None] = {kind.table: None for kind in KINDS}
        for kind in entities:
            constraints[kind.table] = completeness.enforce(connection, kind, limits, **attribution)
        overridden = overridden_since(connection, stable.since)
        done = {"flag_version": flags.version, "writers": list(writers), "constraints": constraints}
        done |= {"without": sorted(without)}
        measured = {**done, "overridden": overridden, "stability": stable.as_json}
        with connection.transaction():
            evidence.record(connection, EVIDENCE, measured, dagster_run_id=attribution.get("dagster_run_id"))
            audit.record(connection, AuditAction.RETIRE_OLD_PATHS, SUBJECT, after=done, **attribution)
    return Retirement(flags, stable, overridden, writers, constraints, time.perf_counter() - started)


def reopen(
    database: Database, initial: Flags, limits: SchemaChangeSettings, **attribution: Unpack[audit.Attribution]
) -> Reopening:
    """Undoes a retirement: drops the rules, then opens the lock and switches dual write on, so that a rollback is possible.

    Extractions stay proposals: a rollback of the flags switches those off. Raises `BlockedError` naming the session that
    holds a table, `BusyError` while another operator works.
    """
    require_proposal_schema(database)
    with database.connect("cleanup") as connection, advisory_lock(connection, WORK):
        released = tuple(kind.table for kind in KINDS if completeness.release(connection, kind, limits, **attribution))
        with translate_knowledge_errors(), database.begin() as transaction:
            flags = read_flags(transaction)
            if flags and flags.legacy_paths_retired:
                flags = _set_flags(transaction, REOPENED, initial, attribution)
    return Reopening(flags or initial, released)


def overridden_since(connection: Connection, since: datetime | None) -> bool:
    """True if an operator overrode the stability of the full cutover that began at `since`."""
    if since is None:
        return False
    row = connection.execute(
        text_of("cleanup/overridden"), {"subject": SUBJECT, "action": AuditAction.OVERRIDE_STABILITY, "since": since}
    ).fetchone()
    return row is not None and bool(row["overridden"])


def _enforced(without: Sequence[str]) -> tuple[EntityKind, ...]:
    unknown = sorted(set(without) - {kind.table for kind in KINDS})
    if unknown:
        raise MigrationError(f"There is no table {', '.join(unknown)} to leave out; the tables are topics and atoms.")
    return tuple(kind for kind in KINDS if kind.table not in without)


def _refuse_early(stable: Stability, override: str | None) -> None:
    if stable.flags is None or stable.flags.state != "full":
        raise PreconditionError(
            f"{stable.sentence} The old paths are retired only when every extraction is a proposal: promote the cutover to "
            "its last stage first. An override is not possible here. Nothing was changed."
        )
    if not stable.is_reached and not (override and override.strip()):
        raise PreconditionError(
            f"{stable.sentence} Wait, or override this with a reason (--override); the reason is recorded in the audit "
            "log. Nothing was changed."
        )


def _lock(
    database: Database, initial: Flags, stable: Stability, override: str | None, attribution: audit.Attribution
) -> Flags:
    """Sets the flags if they are still those that were checked; audits the override in the same transaction."""
    assert stable.flags is not None
    if stable.flags.legacy_paths_retired:
        return stable.flags
    try:
        with database.begin() as transaction:
            if not stable.is_reached:
                overriding: audit.Attribution = {**attribution, "reason": override or ""}
                action = AuditAction.OVERRIDE_STABILITY
                audit.record(transaction, action, SUBJECT, before=stable.as_json, **overriding)
            return _set_flags(transaction, RETIRED, initial, attribution, expected_version=stable.flags.version)
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error


def _set_flags(
    transaction: sa.Connection,
    changes: Mapping[str, bool],
    initial: Flags,
    attribution: audit.Attribution,
    expected_version: int | None = None,
) -> Flags:
    return set_flags(
        transaction,
        changes,
        initial=initial,
        actor=attribution.get("actor") or audit.operator(),
        reason=attribution["reason"],
        expected_version=expected_version,
        dagster_run_id=attribution.get("dagster_run_id"),
    )
