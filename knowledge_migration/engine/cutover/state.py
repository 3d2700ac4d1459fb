"""The current state of the cutover and its begin, from the flags and their audit log."""

from collections.abc import Mapping
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
    exposure, since, version = _exposure(flags.values), changes[0]["at"], _version(changes[0])
    for change in changes:
        if version is None or _version(change) != version or _exposure(change["after"]) != exposure:
            break  # another stage, or versions in between that nobody audited
        since, version = change["at"], version - 1
    return CutoverState(stage_of(flags) or ("dual_write" if flags.dual_write else "off"), since, flags)


def _version(change: Mapping[str, Any]) -> int | None:
    """The version of the flags after the change; None where somebody wrote the entry by hand without them."""
    after = change["after"]
    version = after.get("version") if isinstance(after, dict) else None
    return version if isinstance(version, int) else None


def _exposure(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in EXPOSURE)
