"""What an operator has to deal with, the most severe first; each problem once, however many records name it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.status.model import GateState, StatusSnapshot, Writer
from knowledge_migration.knowledge.flags import SHADOWING_STATES
from knowledge_migration.thresholds import GATES

THRESHOLDS = {gate.metric: gate for gate in GATES}
NAMED_ASSETS = 2


def attention(snapshot: StatusSnapshot) -> Iterator[str]:
    """One sentence per problem."""
    yield from (f"The {part} cannot be read: {reason}." for part, reason in snapshot.unreadable.items())
    failed = [check for check in snapshot.checks if check.result == "failed" and check.name not in THRESHOLDS]
    yield from _checks(failed)
    if snapshot.stage not in (None, "off"):
        yield from _writers(snapshot.writers)
    is_full = snapshot.pending >= snapshot.queue_limit
    if is_full:
        yield (
            f"The review queue is full: {snapshot.pending:,} of {snapshot.queue_limit:,} proposals; extractions in proposal "
            "mode are rejected. Review them, or raise the limit."
        )
    for gate in snapshot.gates:
        if gate.verdict == "fail" and not (is_full and gate.metric == "queue_depth"):
            yield _gate(gate)
    if any(phase.state != "not begun" for phase in snapshot.phases):
        yield from _evidence(snapshot, {check.asset for check in failed})


def _checks(failed: Sequence[CheckRecord]) -> Iterator[str]:
    """A rule that several assets evaluate with the same result is one problem. Gates are checks too; they come by verdict."""
    groups: dict[tuple[str, str], list[CheckRecord]] = defaultdict(list)
    for check in failed:
        groups[check.name, check.message].append(check)
    for (name, message), checks in groups.items():
        assets = [check.asset for check in checks]
        more = f" and {len(assets) - NAMED_ASSETS} more" if len(assets) > NAMED_ASSETS else ""
        latest = max((check.at for check in checks if check.at), default=None)
        moment = f" at {latest:%Y-%m-%d %H:%M} UTC" if latest else ""
        yield f"Check “{name.replace('_', ' ')}” of {', '.join(assets[:NAMED_ASSETS])}{more} failed{moment}: {message}"


def _gate(gate: GateState) -> str:
    """The verdict in words, in the unit of the limit."""
    threshold = THRESHOLDS[gate.metric]  # type: ignore[index]
    value = "" if gate.value is None else f" {threshold.number(gate.value)}{' %' if threshold.is_share else ''}"
    return f"Gate “{gate.metric.replace('_', ' ')}” fails:{value}, limit {gate.limit}. {threshold.meaning}"


def _writers(writers: Sequence[Writer]) -> Iterator[str]:
    direct = [writer.process for writer in writers if writer.mode not in SHADOWING_STATES]
    if direct:
        yield f"Processes that write directly although dual write or proposals are on: {', '.join(direct)}."
    if not writers:
        yield "No process of the service reports: either none runs, or none acknowledges the flags."


def _evidence(snapshot: StatusSnapshot, failed_assets: set[str]) -> Iterator[str]:
    """Evidence is named after its asset; where a check of that asset has failed, that is the problem."""
    for item in snapshot.evidence:
        status = item.status(snapshot.at)
        if status == "not valid" and item.kind not in failed_assets:
            yield f"The last {item.name} is not valid" + ("." if item.message == "not valid" else f": {item.message}.")
        if status == "too old":
            yield f"The last {item.name} is {item.age_hours(snapshot.at):,.0f} h old (limit {item.max_age_hours:g} h)."
