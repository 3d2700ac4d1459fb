"""The state of the migration as plain values: the command, the page, the report and Prometheus render them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from knowledge_migration.engine.cutover.evaluation import LastVerdict
from knowledge_migration.engine.cutover.pause import Pause
from knowledge_migration.engine.foundation.check_record import CHECK_RESULTS, CheckRecord, CheckResult
from knowledge_migration.engine.status.audit_trail import AuditTrail
from knowledge_migration.pressure import Grade

PhaseState = Literal["done", "under way", "not begun"]
EvidenceStatus = Literal["none yet", "valid", "not valid", "too old"]


@dataclass(frozen=True)
class Phase:
    """One phase; `share` is its progress from 0 to 1, `eta_seconds` the time left; both None where they do not apply."""

    number: int
    name: str
    state: PhaseState
    message: str
    share: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True)
class FlagState:
    """The current flags, and who changed them last, when and why."""

    state: str
    version: int
    values: dict[str, Any]
    changed_at: datetime | None
    changed_by: str | None
    reason: str | None


@dataclass(frozen=True)
class GateState:
    """A gate in the current stage; "not evaluated" where its `last` verdict belongs to another stage, which `earlier` names."""

    metric: str
    verdict: str
    value: float | None
    limit: str
    sample: int
    needed: int
    at: datetime | None
    earlier: str | None = None
    last: LastVerdict | None = None


@dataclass(frozen=True)
class Queue:
    """Pending proposals of one table."""

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
class ControlState:
    """The operator's controls of the backfill (None: the setting applies), and who changed them when."""

    paused: bool
    batch_size: int | None
    rate_limit_per_second: float | None
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True)
class SpeedChange:
    """A change of the backfill's speed and its reason; it held from `at` until the next one, or until `read_at`.

    `level` is how much of the time batches run, in all workers together; 0 is a wait.
    """

    at: datetime
    level: float
    signal: str | None
    grade: Grade
    reason: str
    rows_per_second: float
    read_at: datetime


@dataclass(frozen=True)
class Point:
    """A value at a moment, with its 95 % confidence interval where it has one."""

    at: datetime
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Trend:
    """A metric over the last hour; `unit` is share, seconds, proposals or rows per second, `limit` that of its gate."""

    name: str
    unit: str
    points: tuple[Point, ...]
    limit: float | None = None


@dataclass(frozen=True)
class EvidenceState:
    """The newest evidence of one kind: when it was recorded, whether it is valid, its maximum age."""

    kind: str
    name: str
    at: datetime | None
    valid: bool | None
    message: str
    max_age_hours: float | None

    def status(self, now: datetime) -> EvidenceStatus:
        """The state in one word."""
        if self.at is None:
            return "none yet"
        if not self.valid:
            return "not valid"
        return "too old" if self.max_age_hours is not None and self.age_hours(now) > self.max_age_hours else "valid"

    def age_hours(self, now: datetime) -> float:
        """Hours since it was recorded; 0 if it was not."""
        return (now - self.at).total_seconds() / 3600 if self.at else 0.0


@dataclass(frozen=True)
class TableProgress:
    """The backfill of one table: the planner's row estimate, linked rows by the ledger, quarantined rows by state."""

    table: str
    estimated_rows: int | None
    linked: int | None
    last_batch_at: datetime | None
    quarantined: Mapping[str, int]


@dataclass(frozen=True)
class BackfillProgress:
    """The schema's revision, the status of the backfill's run, each table, and the last change of the speed."""

    schema_revision: str | None
    run: str | None
    tables: tuple[TableProgress, ...]
    speed: SpeedChange | None = None


@dataclass(frozen=True)
class StatusSnapshot:
    """The state at one moment. A part that was not read, or does not exist yet, is empty or None.

    `unreadable` names each part that the database refused to show, with the reason.
    `attention` lists what an operator has to deal with.
    """

    at: datetime
    database: str
    queue_limit: int
    phases: tuple[Phase, ...] = ()
    flags: FlagState | None = None
    stage: str | None = None
    stage_since: datetime | None = None
    next_stage: str | None = None
    pause: Pause | None = None
    gates: tuple[GateState, ...] = ()
    queues: tuple[Queue, ...] = ()
    writers: tuple[Writer, ...] = ()
    checks: tuple[CheckRecord, ...] = ()
    evidence: tuple[EvidenceState, ...] = ()
    backfill: BackfillProgress | None = None
    control: ControlState | None = None
    speed: tuple[SpeedChange, ...] = ()
    trail: AuditTrail | None = None
    trends: tuple[Trend, ...] = ()
    attention: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Pending proposals of all tables."""
        return sum(queue.pending for queue in self.queues)

    @property
    def checks_by_result(self) -> dict[CheckResult, int]:
        """How many checks have each result, the most severe first."""
        counts = Counter(check.result for check in self.checks)
        return {result: counts[result] for result in CHECK_RESULTS}

    def as_json(self) -> dict[str, Any]:
        """The overview, times as ISO 8601; without the parts that only the page and Prometheus read."""
        plain: dict[str, Any] = _plain(asdict(self))
        return {
            name: value
            for name, value in plain.items()
            if name not in ("backfill", "control", "speed", "trail", "trends")
        }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
