"""The one reader of the migration's state (strategy §2.2): bounded queries, no lock, nothing written.

Each part can be read alone. A part that does not exist yet is empty; one that cannot be read is an error, or is named.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from knowledge_migration.engine.backup.location import is_remote
from knowledge_migration.engine.cutover.evaluation import LastVerdict, last_verdicts
from knowledge_migration.engine.cutover.pause import Pause, read_pause
from knowledge_migration.engine.dual_write.fence import live_writers
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_record import recorded
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.attention import attention
from knowledge_migration.engine.status.audit_trail import AuditTrail, names_of, read_trail
from knowledge_migration.engine.status.backfill import read_progress, read_speed
from knowledge_migration.engine.status.model import (
    ControlState,
    EvidenceState,
    FlagState,
    GateState,
    Queue,
    StatusSnapshot,
    Writer,
)
from knowledge_migration.engine.status.phases import read_phases
from knowledge_migration.engine.status.reading import Reading
from knowledge_migration.engine.status.trends import read_trends
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.flags import history, read_flags
from knowledge_migration.settings import Settings
from knowledge_migration.thresholds import Gate

SESSION = {"statement_timeout": "2000", "default_transaction_read_only": "on"}
REASON_LENGTH = 120

Part = Literal[
    "phases", "flags", "writers", "gates", "queue", "evidence", "checks", "backfill", "control", "speed", "audit trail",
    "trends",
]  # fmt: skip

OVERVIEW: tuple[Part, ...] = ("phases", "flags", "queue", "writers", "gates", "evidence", "checks")
"""What the command, the report and the page show."""

CONTROLS: tuple[Part, ...] = ("writers", "control", "speed", "audit trail", "flags")
"""What an action of an admin changes; quick at any size."""


def read_status(
    database: Database,
    settings: Settings,
    *,
    parts: Collection[Part] = OVERVIEW,
    trail: AuditTrail | None = None,
    exact: bool = False,
) -> StatusSnapshot:
    """These parts of the state.

    `trail` is used again where no entry was added since; `exact` counts every row, at any size.
    Raises `UnreachableError` when the database does not answer.
    """
    with database.connect("status", settings=SESSION) as connection:
        moment = connection.execute(text_of("foundation/moment")).fetchone()
        assert moment is not None  # a SELECT without FROM
        reading = Reading(database, connection, settings, moment["moment"], trail, exact)
        fields: dict[str, Any] = {}
        for part in parts:
            fields |= READERS[part](reading)
    snapshot = StatusSnapshot(
        reading.now, database.display, settings.service.queue_limit, **fields, unreadable=reading.unreadable
    )
    return replace(snapshot, attention=tuple(attention(snapshot))) if "checks" in parts else snapshot


def _flags(reading: Reading) -> dict[str, Any]:
    state = reading.cutover
    return {
        "flags": reading.part("flags", partial(_flag_state, reading), "public.feature_flags"),
        "stage": state.state if state else None,
        "stage_since": state.since if state else None,
        "next_stage": state.next_stage if state else None,
        "pause": reading.part("rollout pause", partial(_pause, reading.connection)),
    }


def _flag_state(reading: Reading) -> FlagState | None:
    """The current flags; None before they are set. Raises `FlagsError` for a row that cannot be read."""
    with reading.database.begin() as transaction:
        flags = read_flags(transaction)
        changes = history(transaction, 1)
    if flags is None:
        return None
    change = changes[0] if changes else None
    return FlagState(
        state=flags.state,
        version=flags.version,
        values=flags.values,
        changed_at=change["at"] if change else None,
        changed_by=names_of(reading.connection, [change["actor"]])[change["actor"]] if change else None,
        reason=(change["reason"] or "")[:REASON_LENGTH] if change else None,
    )


def _pause(connection: Connection) -> Pause | None:
    pause = read_pause(connection)
    return pause and replace(pause, by=names_of(connection, [pause.by])[pause.by])


def _gates(reading: Reading) -> dict[str, Any]:
    gates = reading.settings.cutover.gates
    metrics = [gate.metric for gate in gates]
    verdicts = (
        reading.part("gates", lambda: last_verdicts(reading.connection, metrics), "migration.gate_evaluation") or []
    )
    latest = {verdict.metric: verdict for verdict in verdicts}
    if not latest and reading.cutover is None:
        return {}
    return {"gates": tuple(_gate(reading, gate, latest.get(gate.metric)) for gate in gates)}


def _queues(connection: Connection) -> tuple[Queue, ...]:
    queues = []
    for kind in KINDS:
        row = connection.execute(statement("status/queue", proposals=f"public.{kind.proposal_table}")).fetchone()
        assert row is not None  # an aggregate
        queues.append(Queue(kind.proposal_table, row["pending"], row["oldest"]))
    return tuple(queues)


def _gate(reading: Reading, gate: Gate, last: LastVerdict | None) -> GateState:
    state = reading.cutover
    is_current = last is not None and state is not None and last.stage == state.state and last.at >= state.since
    current = last if is_current else None
    return GateState(
        metric=gate.metric,
        verdict=current.verdict if current else "not evaluated",
        value=current.value if current else None,
        limit=gate.limit,
        sample=last.sample_size if last else 0,
        needed=gate.minimum_sample,
        at=current.at if current else None,
        earlier=f"{last.verdict} at {last.stage}" if last and not current else None,
        last=last,
    )


def _writers(reading: Reading) -> tuple[Writer, ...]:
    return tuple(
        Writer(row["process"], row["mode"], row["flag_version"], float(row["seconds_ago"]))
        for row in live_writers(reading.connection, reading.settings.fence.live_seconds)
    )


def _control(connection: Connection) -> ControlState | None:
    row = connection.execute(text_of("status/control")).fetchone()
    if row is None:
        return None
    return ControlState(**row | {"changed_by": names_of(connection, [row["changed_by"]])[row["changed_by"]]})


def _evidence(reading: Reading) -> tuple[EvidenceState, ...]:
    settings = reading.settings
    kinds: tuple[tuple[str, str, float | None], ...] = (
        ("verified_backup", "backup", settings.preparation.backup_max_age_hours),
        ("staging_rehearsal", "rehearsal", None),
        ("rollback_drill", "rollback drill", 24 * settings.rehearsal.drill_max_age_days),
        ("value_verification", "value verification", settings.verification.max_age_hours),
        ("quality_validation", "quality validation", None),
        ("functional_validation", "functional validation", None),
        ("performance_validation", "performance validation", None),
        ("load_test", "load test", None),
    )
    states = []
    for kind, name, max_age in kinds:
        unseen = EvidenceState(kind, name, None, None, "cannot be read", max_age)
        states.append(reading.part("evidence", partial(_state, reading.connection, kind, name, max_age)) or unseen)
    return tuple(states)


def _state(connection: Connection, kind: str, name: str, max_age: float | None) -> EvidenceState:
    record = evidence.latest(connection, kind)
    valid, message = _validity(record) if record else (None, "none yet")
    return EvidenceState(kind, name, record.recorded_at if record else None, valid, message, max_age)


def _validity(record: evidence.Evidence) -> tuple[bool, str]:
    """Whether the evidence is valid, and what it says; a backup is recorded only after it was verified."""
    content = record.content
    if record.kind == "verified_backup":
        size, path = f"{content['bytes'] / 1e6:,.1f} MB", content["path"]
        if is_remote(path):
            return True, f"{size} at {path}, which is not read here"
        if not Path(path).exists():
            return False, f"its file is not at {path} on this machine"
        return True, size
    valid = bool(content["passed"])
    return valid, "valid" if valid else "not valid"


def _field(
    name: str, part: str, read: Callable[[Reading], Any], default: Any = ()
) -> Callable[[Reading], dict[str, Any]]:
    """A reader of one field, which is the default where the part does not exist yet or cannot be read."""

    def reader(reading: Reading) -> dict[str, Any]:
        value = reading.part(part, lambda: read(reading))
        return {name: default if value is None else value}

    return reader


READERS: dict[Part, Callable[[Reading], dict[str, Any]]] = {
    "phases": _field("phases", "phases", lambda reading: tuple(read_phases(reading))),
    "flags": _flags,
    "queue": _field("queues", "queue", lambda reading: _queues(reading.connection)),
    "writers": _field("writers", "processes", _writers),
    "gates": _gates,
    "evidence": _field("evidence", "evidence", _evidence),
    "checks": _field("checks", "checks", lambda reading: recorded(reading.connection)),
    "backfill": _field("backfill", "backfill", read_progress, None),
    "control": _field("control", "backfill", lambda reading: _control(reading.connection), None),
    "speed": _field("speed", "backfill", lambda reading: read_speed(reading.connection)),
    "trends": _field("trends", "trends", read_trends),
    "audit trail": _field("trail", "audit trail", lambda reading: read_trail(reading.connection, reading.trail), None),
}
