"""How the parts of a snapshot are shown: the flags, and the rows of each table."""

import json
from collections.abc import Callable
from datetime import timedelta

from nicegui import ui

from knowledge_migration.engine.foundation.check_record import CHECK_RESULTS
from knowledge_migration.engine.status.model import GateState, StatusSnapshot, Writer
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.widgets import Ago, Badge, Cell, Row, label
from knowledge_migration.thresholds import GATES as THRESHOLDS

VERDICTS = {"pass": "good", "fail": "bad", "inconclusive": "warning"}
RESULTS = {"failed": "bad", "warned": "warning", "passed": "good"}
EVIDENCE_STATES = {"valid": "good", "not valid": "bad", "too old": "warning"}

GATES = ("Gate", "Verdict", "Value", "Limit", "Sample", "Evaluated")
QUEUE = ("Table", "Pending", "Oldest")
PROCESSES = ("Process", "Mode", "Flags", "Reported")
CHECKS = ("Check", "Result", "When", "Message")
EVIDENCE = ("Evidence", "State", "Recorded", "Details", "Maximum age")

MEANINGS = {
    "off": "Extractions write knowledge directly, as before; no proposals.",
    "dual_write": "Extractions write knowledge directly, and a proposal beside it.",
    "rollout": "Some users' extractions become proposals only; the others' are written directly, with a proposal beside.",
    "rollout_without_dual_write": "Some users' extractions become proposals only; the others' are written without one.",
    "full": "Every extraction becomes proposals, which are reviewed before they are knowledge.",
}


def gates(snapshot: StatusSnapshot) -> list[Row]:
    """Each gate in the current stage."""
    return [_gate(gate) for gate in snapshot.gates]


def _gate(gate: GateState) -> Row:
    value = "" if gate.value is None else _with_unit(gate.metric, gate.value)
    verdict = Badge(gate.verdict, VERDICTS.get(gate.verdict, "neutral"))
    evaluated: Cell = gate.at or (f"earlier: {label(gate.earlier)}" if gate.earlier else "not in this stage")
    return (label(gate.metric), verdict, value, gate.limit, f"{gate.sample:,} of {gate.needed:,}", evaluated)


def _with_unit(metric: str, value: float) -> str:
    """In the unit of the limit beside it."""
    gate = next(one for one in THRESHOLDS if one.metric == metric)
    return f"{gate.number(value)}{' %' if gate.is_share else ''}"


def queue(snapshot: StatusSnapshot) -> list[Row]:
    """Each table of proposals."""
    return [(one.table, f"{one.pending:,}", one.oldest or "none") for one in snapshot.queues]


def queue_summary(snapshot: StatusSnapshot) -> str:
    """How full the review queue is."""
    if not snapshot.queues:
        return ""
    full = " The queue is full: extractions in proposal mode are rejected."
    is_full = snapshot.pending >= snapshot.queue_limit
    return f"{snapshot.pending:,} of at most {snapshot.queue_limit:,} proposals are pending.{full if is_full else ''}"


def processes(snapshot: StatusSnapshot) -> list[Row]:
    """Each live process, and whether it has acknowledged the newest flags."""
    version = snapshot.flags.version if snapshot.flags else None
    return [
        (
            writer.process,
            label(writer.mode),
            _acknowledged(writer, version),
            snapshot.at - timedelta(seconds=writer.seconds_ago),
        )
        for writer in snapshot.writers
    ]


def _acknowledged(writer: Writer, version: int | None) -> Badge:
    if version is None or writer.flag_version >= version:
        return Badge(f"version {writer.flag_version}", "good")
    return Badge(f"still version {writer.flag_version}", "warning")


def checks(snapshot: StatusSnapshot) -> list[Row]:
    """The most severe results first."""
    ordered = sorted(snapshot.checks, key=lambda check: (CHECK_RESULTS.index(check.result), check.asset, check.name))
    return [
        (f"{check.asset}.{check.name}", Badge(check.result, RESULTS[check.result]), check.at, check.message)
        for check in ordered
    ]


def checks_summary(snapshot: StatusSnapshot) -> str:
    """How many checks have each result; or why none is shown."""
    if not snapshot.checks:
        return "No check has run yet."
    return f"{', '.join(f'{count:,} {result}' for result, count in reversed(snapshot.checks_by_result.items()))}."


def evidence(snapshot: StatusSnapshot) -> list[Row]:
    """Backup, rehearsal, drill and the validations."""
    rows: list[Row] = []
    for item in snapshot.evidence:
        status = item.status(snapshot.at)
        badge = Badge(status, EVIDENCE_STATES.get(status, "neutral"))
        limit = "no limit" if item.max_age_hours is None else _hours(item.max_age_hours)
        rows.append((item.name, badge, item.at, item.message if item.at else "", limit))
    return rows


def _hours(hours: float) -> str:
    return f"{hours / 24:g} days" if hours > 48 else f"{hours:g} hours"


def flags_key(snapshot: StatusSnapshot) -> object:
    """What `draw_flags` shows."""
    return (
        snapshot.flags, snapshot.stage, snapshot.stage_since, snapshot.next_stage, snapshot.unreadable.get("flags"),
    )  # fmt: skip


def draw_flags(snapshot: StatusSnapshot) -> None:
    """The flags, what they mean for an extraction, and who changed them last, when and why."""
    flags, problem = snapshot.flags, snapshot.unreadable.get("flags")
    if problem:
        Text("p", f"The flags cannot be read: {problem}", "problem")
        return
    if flags is None:
        Text("p", "The flags are not set yet: extractions are written as before the migration.", "muted")
        return
    Text("p", label(flags.state), "flag-state").props("id=flag-state")
    Text("p", MEANINGS.get(flags.state, ""))
    with ui.element("dl").classes("pairs"):
        _pair("Version", lambda: Text("span", str(flags.version)).props("id=flag-version"))
        if flags.values.get("enabled"):
            share = f"{flags.values['cutover_percentage']} % of {flags.values['audience']}"
            _pair("Proposals for", lambda: Text("span", share))
        _pair("Stage", lambda: Text("span", label(snapshot.stage or "none yet")))
        if snapshot.stage_since:
            _pair("Stage since", lambda: Ago(snapshot.stage_since))
        if snapshot.next_stage:
            _pair("Next stage", lambda: Text("span", label(snapshot.next_stage or "")))
        _pair("Changed", lambda: Ago(flags.changed_at))
        _pair("By", lambda: Text("span", flags.changed_by or "not recorded"))
        _pair("Reason", lambda: Text("span", flags.reason or "not recorded"))
    with ui.element("details"):
        Text("summary", "All flags")
        with ui.element("dl").classes("pairs"):
            for name, value in flags.values.items():
                _pair(label(name), lambda value=value: Text("span", json.dumps(value)))  # type: ignore[misc]


def _pair(name: str, draw: Callable[[], object]) -> None:
    Text("dt", name)
    with ui.element("dd"):
        draw()


def draw_attention(messages: tuple[str, ...]) -> None:
    """What an operator has to deal with."""
    if not messages:
        Text("p", "✓ Nothing needs attention.", "all-clear")
        return
    with ui.element("ul").classes("attention-list"):
        for message in messages:
            Text("li", message)
