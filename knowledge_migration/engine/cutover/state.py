"""The current state of the cutover and its begin, from the flags and their audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError, translate_knowledge_errors
from knowledge_migration.knowledge.flags import Flags, history, read_flags
from knowledge_migration.knowledge.stages import stage_of
from knowledge_migration.thresholds import STAGES, Stage

State = Stage | Literal["off", "dual_write"]

EXPOSURE = ("enabled", "dual_write", "audience", "cutover_percentage")
"""The flags that decide whose extractions become proposals; a change of them restarts the bake time and every window."""

READ_CHANGES = 1_000


@dataclass(frozen=True)
class CutoverState:
    """The state, its begin, and the flags."""

    state: State
    since: datetime
    flags: Flags

    @property
    def next_stage(self) -> Stage | None:
        """The stage that may come next; None before dual write and after the last."""
        if self.state == "off":
            return None
        following = ("dual_write", *STAGES).index(self.state)
        return STAGES[following] if following < len(STAGES) else None

    def hours(self, now: datetime) -> float:
        """Hours since its begin."""
        return (now - self.since).total_seconds() / 3600


def read_cutover_state(database: Database) -> CutoverState:
    """Raises `PreconditionError` where nobody has set the flags yet, or their row cannot be read."""
    with translate_knowledge_errors(), database.begin() as transaction:
        flags = read_flags(transaction)
        changes = history(transaction, READ_CHANGES)
    if flags is None or not changes:
        raise PreconditionError("Nobody has set the feature flags of this database yet. Run phases 1 and 2 first.")
    exposure, since, version = _exposure(flags.values), changes[0]["at"], changes[0]["after"].get("version")
    for change in changes:
        if _exposure(change["after"]) != exposure or change["after"].get("version") != version:
            break  # another stage, or versions in between that nobody audited
        since, version = change["at"], version - 1
    return CutoverState(stage_of(flags) or ("dual_write" if flags.dual_write else "off"), since, flags)


def _exposure(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in EXPOSURE)
