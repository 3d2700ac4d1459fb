"""Where the cutover stands: the stage that the flags amount to, and since when, read from the flags and their audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge.flags import Flags, FlagsError, history, read_flags
from knowledge_migration.knowledge.stages import STAGES, Stage, stage_of

State = Stage | Literal["off", "dual_write"]

EXPOSURE = ("enabled", "dual_write", "audience", "cutover_percentage")
"""What decides whose extractions become proposals; a change of it begins the bake time and every window anew."""

LOOKED_BACK = 1_000


@dataclass(frozen=True)
class CutoverState:
    """The state, since when it stands, and the flags."""

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
        """For how long it has stood."""
        return (now - self.since).total_seconds() / 3600


def position(database: Database) -> CutoverState:
    """Raises `PreconditionError` where nobody has set the flags yet, or their row cannot be read."""
    with database.begin() as transaction:
        try:
            flags = read_flags(transaction)
        except FlagsError as error:
            raise PreconditionError(str(error)) from error
        changes = history(transaction, LOOKED_BACK)
    if flags is None or not changes:
        raise PreconditionError("Nobody has set the feature flags of this database yet. Run phases 1 and 2 first.")
    exposed, since = _exposure(flags.values), changes[0]["at"]
    for change in changes:
        if _exposure(change["after"]) != exposed:
            break
        since = change["at"]
    return CutoverState(_state(flags), since, flags)


def _state(flags: Flags) -> State:
    return stage_of(flags) or ("dual_write" if flags.dual_write else "off")


def _exposure(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in EXPOSURE)
