"""One look at everything (strategy §2.2, "dashboard for migration progress tracking"): bounded queries, no lock, nothing written.

What a database has not come to yet is shown as such; what cannot be read is an error or named, never left out silently.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg

from knowledge_migration.engine.cleanup.stability import Stability, stability
from knowledge_migration.engine.cutover.gates import Gate
from knowledge_migration.engine.cutover.state import CutoverState, position
from knowledge_migration.engine.cutover.verdicts import last_verdicts
from knowledge_migration.engine.dual_write.fence import live_writers
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.model import (
    Check,
    FlagState,
    GateState,
    Phase,
    Proof,
    Queue,
    StatusSnapshot,
    Writer,
)
from knowledge_migration.engine.status.phases import backfill_phase, cleanup_phase, cutover_phase
from knowledge_migration.engine.status.phases_done import dual_write_done, preparation_done, schema_done
from knowledge_migration.engine.status.reading import Reading
from knowledge_migration.engine.status.recorded_checks import recorded_checks
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.flags import SHADOWING_STATES, history, read_flags
from knowledge_migration.knowledge.stages import Stage

SESSION = {"statement_timeout": "2000", "default_transaction_read_only": "on"}
REASON_LENGTH = 120


@dataclass(frozen=True)
class StatusRules:
    """What the settings say: gates, bake times, ages in hours (days for the drill), the queue's limit."""

    gates: tuple[Gate, ...]
    bake_minutes: dict[Stage, float]
    backup_max_age_hours: float
    drill_max_age_days: float
    verification_max_age_hours: float
    stable_days: float
    live_seconds: float
    queue_limit: int
    no_live_writers: bool


def read_status(database: Database, rules: StatusRules, storage: Database | None) -> StatusSnapshot:
    """The state now. `storage` is where Dagster keeps its tables; None where nobody has started it yet.

    Raises `UnreachableError` when the database does not answer.
    """
    with database.connect("status", settings=SESSION) as connection:
        moment = connection.execute(text_of("foundation/moment")).fetchone()
        assert moment is not None
        now: datetime = moment["moment"]
        ask = Reading()
        standing = ask("flags", lambda: position(database))
        phases = tuple(_phases(ask, database, connection, rules, standing, now))
        queues = ask("queue", lambda: tuple(_queues(connection))) or ()
        writers = ask("processes", lambda: writers_now(connection, rules.live_seconds)) or ()
        gates = tuple(_gates(ask, connection, rules, standing))
        proofs = tuple(_proofs(ask, connection, rules))
    checks, unseen = _checks(storage)
    found = StatusSnapshot(
        at=now,
        database=database.display,
        phases=phases,
        flags=ask("flags", lambda: flags_now(database)) if standing else None,
        stage=standing.state if standing else None,
        stage_since=standing.since if standing else None,
        next_stage=standing.next_stage if standing else None,
        gates=gates,
        queues=queues,
        queue_limit=rules.queue_limit,
        writers=writers,
        checks=checks,
        proofs=proofs,
        attention=(),
        unreadable=ask.refused,
        checks_unseen=unseen,
    )
    return StatusSnapshot(**{**vars(found), "attention": tuple(_attention(found, rules, unseen))})


def _phases(
    ask: Reading,
    database: Database,
    connection: Connection,
    rules: StatusRules,
    standing: CutoverState | None,
    now: datetime,
) -> Iterator[Phase]:
    made = ask("phases", lambda: schema_done(connection))
    prepared = ask(
        "phases",
        lambda: preparation_done(connection, None if made else rules.backup_max_age_hours, with_rehearsal=not made),
    )
    begun = ask("phases", lambda: evidence.latest(connection, "legacy_fingerprint"))
    incomplete = "begun; not all of its evidence is there, well and fresh"
    yield (
        Phase(0, "preparation", "done", prepared, 1.0)
        if prepared
        else Phase(
            0, "preparation", "under way" if begun else "not begun", incomplete if begun else "nothing measured yet"
        )
    )
    yield (
        Phase(1, "schema", "done", made, 1.0)
        if made
        else Phase(1, "schema", "not begun", "the proposal tables are not there, or not complete")
    )
    proven = None if rules.no_live_writers else ask("phases", lambda: dual_write_done(database))
    if rules.no_live_writers:
        yield Phase(2, "dual write", "done", "left out: KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set", 1.0)
    elif proven:
        yield Phase(2, "dual write", "done", proven, 1.0)
    else:
        yield Phase(2, "dual write", "not begun", "not proven, or it has been off since")
    yield (
        ask("phases", lambda: backfill_phase(connection)) or Phase(3, "backfill", "not begun", "needs phase 1")
        if made
        else Phase(3, "backfill", "not begun", "needs phase 1")
    )
    yield cutover_phase(standing, rules.bake_minutes, now)
    required = rules.stable_days
    stable: Stability | None = ask("phases", lambda: stability(database, required_days=required, now=now))
    yield cleanup_phase(stable)


def flags_now(database: Database) -> FlagState | None:
    """The flags as they are set; None where nobody has set them. Raises `FlagsError` for a row that cannot be read."""
    with database.begin() as transaction:
        flags = read_flags(transaction)
        last = history(transaction, 1)
    if flags is None:
        return None
    change = last[0] if last else None
    reason = (change["reason"] or "")[:REASON_LENGTH] if change else None
    return FlagState(
        state=flags.state,
        version=flags.version,
        values=flags.values,
        changed_at=change["at"] if change else None,
        changed_by=change["actor"] if change else None,
        reason=reason,
    )


def _gates(
    ask: Reading, connection: Connection, rules: StatusRules, standing: CutoverState | None
) -> Iterator[GateState]:
    if standing is None:
        return
    metrics = [gate.metric for gate in rules.gates]
    verdicts = ask("gates", lambda: last_verdicts(connection, metrics))
    latest = {one.metric: one for one in verdicts or []}
    for gate in rules.gates:
        last = latest.get(gate.metric)
        current = last if last and last.stage == standing.state and last.at >= standing.since else None
        yield GateState(
            metric=gate.metric,
            verdict=current.verdict if current else "not judged",
            value=current.value if current else None,
            limit=gate.limit,
            sample=current.sample_size if current else 0,
            needed=gate.minimum_sample,
            at=current.at if current else None,
            earlier=f"{last.verdict} at {last.stage}" if last and not current else None,
        )


def _queues(connection: Connection) -> Iterator[Queue]:
    for kind in KINDS:
        row = connection.execute(statement("status/queue", proposals=f"public.{kind.proposal_table}")).fetchone()
        assert row is not None
        yield Queue(kind.proposal_table, row["pending"], row["oldest"])


def writers_now(connection: Connection, live_seconds: float) -> tuple[Writer, ...]:
    """The processes of the service that reported lately."""
    return tuple(
        Writer(row["process"], row["mode"], row["flag_version"], float(row["seconds_ago"]))
        for row in live_writers(connection, live_seconds)
    )


def _proofs(ask: Reading, connection: Connection, rules: StatusRules) -> Iterator[Proof]:
    """What was proven and when; `well` None where nothing was."""
    known: tuple[tuple[str, str, str | None, float | None], ...] = (
        ("backup", "verified_backup", None, rules.backup_max_age_hours),
        ("rehearsal", "staging_rehearsal", "well", None),
        ("rollback drill", "rollback_drill", "well", 24 * rules.drill_max_age_days),
        ("value verification", "value_verification", "passed", rules.verification_max_age_hours),
        ("quality validation", "quality_validation", "passed", None),
        ("functional validation", "functional_validation", "passed", None),
        ("performance validation", "performance_validation", "passed", None),
        ("load test", "load_test", "passed", None),
    )
    for name, kind, key, max_age in known:
        kept = ask("proofs", partial(evidence.latest, connection, kind))
        if kept is None:
            yield Proof(name, None, None, "never", max_age)
        elif name == "backup":
            yield _backup(kept, max_age)
        else:
            assert key is not None
            well = bool(kept.content[key])
            yield Proof(name, kept.recorded_at, well, "well" if well else "not well", max_age)


def _backup(kept: evidence.Evidence, max_age: float | None) -> Proof:
    path = Path(kept.content["path"])
    there = path.exists()
    words = f"{kept.content['bytes'] / 1e6:,.1f} MB" if there else f"its file is not at {path} as seen from here"
    return Proof("backup", kept.recorded_at, there, words, max_age)


def _checks(storage: Database | None) -> tuple[tuple[Check, ...] | None, str | None]:
    if storage is None:
        return None, "The checks on record cannot be seen: Dagster's server does not run here."
    try:
        return recorded_checks(storage), None
    except (MigrationError, psycopg.Error) as error:
        return None, f"The checks on record cannot be seen: {str(error).strip().splitlines()[0]}"


def _attention(found: StatusSnapshot, rules: StatusRules, unseen: str | None) -> Iterator[str]:
    """What a person should look at, the gravest first."""
    yield from (f"The {part} cannot be read: {why}." for part, why in found.unreadable)
    for check in found.checks or ():
        if check.ended and not check.passed and not check.warns:
            yield f"Check {check.asset}.{check.name} did not pass at {check.at:%Y-%m-%d %H:%M} UTC: {check.words}"
    unended = [f"{check.asset}.{check.name}" for check in found.checks or () if not check.ended]
    if unended:
        yield f"{len(unended)} checks were not run to their end the last time: {', '.join(unended)}."
    yield from _of_writers(found.writers, found.stage)
    for gate in found.gates:
        if gate.verdict == "fail":
            yield f"Gate {gate.metric} fails: {gate.value:.4g}, limit {gate.limit}."
    pending = sum(queue.pending for queue in found.queues)
    if pending >= rules.queue_limit:
        yield f"The review queue is full: {pending:,} of {rules.queue_limit:,}; extractions in proposal mode are refused."
    begun = any(phase.state != "not begun" for phase in found.phases)
    yield from (_of_proofs(found.proofs, found.at) if begun else ())
    if unseen and begun:
        yield unseen


def _of_writers(writers: Sequence[Writer], stage: str | None) -> Iterator[str]:
    wrong = [writer.process for writer in writers if writer.mode not in SHADOWING_STATES]
    if stage not in (None, "off") and wrong:
        yield f"{', '.join(wrong)} write directly although dual write or proposals are on."
    if stage not in (None, "off") and not writers:
        yield "No process of the service reports: nobody obeys the flags, or nobody runs."


def _of_proofs(proofs: Sequence[Proof], now: datetime) -> Iterator[str]:
    for proof in proofs:
        if proof.at is None:
            continue
        hours = (now - proof.at).total_seconds() / 3600
        if not proof.well:
            yield f"The last {proof.name} was {proof.words}."
        elif proof.max_age_hours is not None and hours > proof.max_age_hours:
            yield f"The last {proof.name} is {hours:,.0f} h old (limit {proof.max_age_hours:g} h)."
