"""What a look says, as rows of tables: plain values, so that a table changes only where they do."""

from collections.abc import Iterator
from datetime import timedelta

from knowledge_migration.engine.status.controls import ControlSnapshot
from knowledge_migration.engine.status.model import Check, GateState, Proof, StatusSnapshot, Writer
from knowledge_migration.pages.migration.parts import Badge, Cell

Row = tuple[Cell, ...]
VERDICTS = {"pass": "good", "fail": "bad", "inconclusive": "warning"}

GATES = ("Gate", "Verdict", "Value", "Limit", "Sample", "Judged")
QUEUE = ("Table", "Waiting", "Oldest")
PROCESSES = ("Process", "Mode", "Flags", "Reported")
CHECKS = ("Check", "Result", "When", "Words")
PROOFS = ("Proof", "State", "Made", "Words", "May be as old as")


def gates(found: StatusSnapshot) -> list[Row]:
    """Each gate in the present state."""
    return [_gate(gate) for gate in found.gates]


def _gate(gate: GateState) -> Row:
    value = "" if gate.value is None else f"{gate.value:.4g}"
    verdict = Badge(gate.verdict, VERDICTS.get(gate.verdict, "neutral"))
    judged: Cell = gate.at if gate.at else f"earlier: {named(gate.earlier)}" if gate.earlier else "not in this stage"
    return (named(gate.metric), verdict, value, gate.limit, f"{gate.sample:,} of {gate.needed:,}", judged)


def queue(found: StatusSnapshot) -> list[Row]:
    """Each table of proposals."""
    return [(one.table, f"{one.pending:,}", one.oldest or "nothing waits") for one in found.queues]


def processes(found: ControlSnapshot) -> list[Row]:
    """Each live process, and whether it has seen the newest flags."""
    version = found.flags.version if found.flags else None
    return [
        (one.process, named(one.mode), _obedience(one, version), found.at - timedelta(seconds=one.seconds_ago))
        for one in found.writers or ()
    ]


def _obedience(writer: Writer, version: int | None) -> Cell:
    if version is None or writer.flag_version >= version:
        return Badge(f"version {writer.flag_version}", "good")
    return Badge(f"still version {writer.flag_version}", "warning")


def checks(found: StatusSnapshot) -> list[Row]:
    """The failed ones first, then what broke off, then warnings."""
    ordered = sorted(found.checks or (), key=lambda check: (_rank(check), check.asset, check.name))
    return [(f"{check.asset}.{check.name}", _result(check), check.at, check.words) for check in ordered]


def _rank(check: Check) -> int:
    if check.ended and check.passed:
        return 3
    return 1 if not check.ended else 2 if check.warns else 0


def _result(check: Check) -> Badge:
    results = (
        Badge("failed", "bad"),
        Badge("not ended", "warning"),
        Badge("warned", "warning"),
        Badge("passed", "good"),
    )
    return results[_rank(check)]


def checks_summary(found: StatusSnapshot) -> str:
    """How many passed, failed, warned, broke off; or why nothing can be seen."""
    if found.checks is None:
        return found.checks_unseen or "The checks on record cannot be seen."
    if not found.checks:
        return "No check has run yet."
    counts = [0, 0, 0, 0]
    for check in found.checks:
        counts[_rank(check)] += 1
    failed, unended, warned, passed = counts
    return f"{passed:,} passed, {failed:,} failed, {warned:,} warned, {unended:,} not ended."


def proofs(found: StatusSnapshot) -> list[Row]:
    """Backup, rehearsal, drill and the validations."""
    return list(_proofs(found))


def _proofs(found: StatusSnapshot) -> Iterator[Row]:
    for one in found.proofs:
        limit = "no limit" if one.max_age_hours is None else _hours(one.max_age_hours)
        yield (one.name, _standing(one, found), one.at, one.words if one.at else "", limit)


def _standing(proof: Proof, found: StatusSnapshot) -> Badge:
    if proof.at is None:
        return Badge("never made")
    if not proof.well:
        return Badge("not well", "bad")
    hours = (found.at - proof.at).total_seconds() / 3600
    is_old = proof.max_age_hours is not None and hours > proof.max_age_hours
    return Badge("too old", "warning") if is_old else Badge("well", "good")


def _hours(hours: float) -> str:
    return f"{hours / 24:g} days" if hours > 48 else f"{hours:g} hours"


def named(name: str) -> str:
    """A name of the code as people write it."""
    return name.replace("_", " ")
