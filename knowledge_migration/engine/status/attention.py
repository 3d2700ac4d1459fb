"""What an operator has to deal with, the most severe first."""

from collections.abc import Iterator, Sequence

from knowledge_migration.engine.status.model import StatusSnapshot, Writer
from knowledge_migration.knowledge.flags import SHADOWING_STATES


def attention(snapshot: StatusSnapshot) -> Iterator[str]:
    """One sentence per problem."""
    yield from (f"The {part} cannot be read: {reason}." for part, reason in snapshot.unreadable.items())
    yield from _checks(snapshot)
    if snapshot.stage not in (None, "off"):
        yield from _writers(snapshot.writers)
    for gate in snapshot.gates:
        if gate.verdict == "fail":
            yield f"Gate {gate.metric} fails: {gate.value:.4g}, limit {gate.limit}."
    if snapshot.pending >= snapshot.queue_limit:
        yield (
            f"The review queue is full: {snapshot.pending:,} of {snapshot.queue_limit:,} proposals; extractions in proposal "
            "mode are rejected."
        )
    if any(phase.state != "not begun" for phase in snapshot.phases):
        yield from _evidence(snapshot)


def _checks(snapshot: StatusSnapshot) -> Iterator[str]:
    for check in snapshot.checks:
        if check.result == "failed":
            yield f"Check {check.asset}.{check.name} failed at {check.at:%Y-%m-%d %H:%M} UTC: {check.message}"


def _writers(writers: Sequence[Writer]) -> Iterator[str]:
    direct = [writer.process for writer in writers if writer.mode not in SHADOWING_STATES]
    if direct:
        yield f"Processes that write directly although dual write or proposals are on: {', '.join(direct)}."
    if not writers:
        yield "No process of the service reports: either none runs, or none acknowledges the flags."


def _evidence(snapshot: StatusSnapshot) -> Iterator[str]:
    for item in snapshot.evidence:
        status = item.status(snapshot.at)
        if status == "not valid":
            yield f"The last {item.name} is not valid" + ("." if item.message == "not valid" else f": {item.message}.")
        if status == "too old":
            yield f"The last {item.name} is {item.age_hours(snapshot.at):,.0f} h old (limit {item.max_age_hours:g} h)."
