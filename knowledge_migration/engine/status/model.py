"""What one look shows. Everything is a plain value, so that it can be printed, drawn and written as JSON alike."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

PhaseState = Literal["done", "under way", "not begun"]


@dataclass(frozen=True)
class Phase:
    """One phase; `share` is how far it is from 0 to 1, `eta_seconds` when it may end, both None where that means nothing."""

    number: int
    name: str
    state: PhaseState
    words: str
    share: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True)
class FlagState:
    """The flags as they stand, and who changed them last, when and why."""

    state: str
    version: int
    values: dict[str, Any]
    changed_at: datetime | None
    changed_by: str | None
    reason: str | None


@dataclass(frozen=True)
class GateState:
    """The last verdict of one gate in the present state; where there is none, "not judged", and what it was `earlier`."""

    metric: str
    verdict: str
    value: float | None
    limit: str
    sample: int
    needed: int
    at: datetime | None
    earlier: str | None = None


@dataclass(frozen=True)
class Queue:
    """Proposals that wait for review, of one table."""

    table: str
    pending: int
    oldest: datetime | None


@dataclass(frozen=True)
class Writer:
    """A live process of the service."""

    process: str
    mode: str
    flag_version: int
    seconds_ago: float


@dataclass(frozen=True)
class Check:
    """The latest evaluation of an asset check, as Dagster has it on record; `ended` unless it was only planned or broke off."""

    asset: str
    name: str
    passed: bool
    warns: bool
    ended: bool
    at: datetime
    words: str


@dataclass(frozen=True)
class Proof:
    """A piece of evidence that ages: when it was made, whether it said that all is well, and how old it may be."""

    name: str
    at: datetime | None
    well: bool | None
    words: str
    max_age_hours: float | None


@dataclass(frozen=True)
class StatusSnapshot:
    """All of it. `attention` says what a person should look at.

    `checks` is None where Dagster's record cannot be seen; `checks_unseen` says why. `unreadable` names the parts that
    this database refused to show, each with why; they look as if nothing were there.
    """

    at: datetime
    database: str
    phases: tuple[Phase, ...]
    flags: FlagState | None
    stage: str | None
    stage_since: datetime | None
    next_stage: str | None
    gates: tuple[GateState, ...]
    queues: tuple[Queue, ...]
    queue_limit: int
    writers: tuple[Writer, ...]
    checks: tuple[Check, ...] | None
    proofs: tuple[Proof, ...]
    attention: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...] = ()
    checks_unseen: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it, times as ISO 8601."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
