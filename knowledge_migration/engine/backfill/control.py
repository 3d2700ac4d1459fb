"""The limits of a running backfill: the settings, what the operator changes meanwhile, and the speed of the closed loop."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from knowledge_migration.engine.backfill.speed import present_speed
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import BackfillSettings

CLOCK_TICK_SECONDS = 1e-6
LARGEST_BATCH = 50_000
SHORTEST_SHARE = 0.1
"""At a lower share of its time a worker's batches get no shorter, only its pauses longer."""


@dataclass(frozen=True)
class Control:
    """The operator's changes; None means the value of the settings."""

    paused: bool
    batch_size: int | None
    rate_limit_per_second: float | None


def read_control(connection: Connection) -> Control:
    """The present controls."""
    row = connection.execute(text_of("backfill/control")).fetchone()
    return Control(**row) if row else Control(False, None, None)


def set_control(
    connection: Connection,
    *,
    paused: bool | None = None,
    batch_size: int | None = None,
    rate_limit_per_second: float | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Control:
    """Changes the given values; a running backfill applies them within a second. Audited.

    Raises `PreconditionError` for an invalid batch size or rate.
    """
    _refuse_invalid(batch_size, rate_limit_per_second)
    actor = actor or audit.operator()
    before = vars(read_control(connection))
    values = {"paused": paused, "batch_size": batch_size, "rate_limit_per_second": rate_limit_per_second}
    with connection.transaction():
        after = connection.execute(text_of("backfill/set_control"), {**values, "actor": actor}).fetchone()
        assert after is not None
        action = AuditAction.SET_BACKFILL_CONTROL
        audit.record(connection, action, "backfill", before=before, after=after, actor=actor, reason=reason)
    return Control(**after)


def _refuse_invalid(batch_size: int | None, rate: float | None) -> None:
    if batch_size is not None and not 1 <= batch_size <= LARGEST_BATCH:
        raise PreconditionError(f"A batch has 1 to {LARGEST_BATCH:,} rows, not {batch_size:,}. Nothing was changed.")
    if rate is not None and not (math.isfinite(rate) and rate >= 0):
        raise PreconditionError(
            f"The rate is 0 (no limit) or more batches per second, not {rate:g}. Nothing was changed."
        )


@dataclass
class Throttle:
    """Delays batches according to limits and controls; keeps the times of the last read and of the last batch."""

    limits: BackfillSettings
    on_pace: Callable[[str], None] | None = None
    """Is told why it waits, and every change of the speed."""
    _control: Control = Control(False, None, None)
    _obstacle: str | None = None
    _share: float = 1.0
    _change: int | None = None
    _worked: float = 0.0
    _read_at: float = float("-inf")
    _last_start: float = float("-inf")

    @property
    def batch_size(self) -> int:
        """Rows of a full batch as set now; at the automatic rate, the most that a batch may have."""
        return self._control.batch_size or (
            self.limits.max_batch_size if self.limits.is_automatic else self.limits.batch_size
        )

    @property
    def rate(self) -> float:
        """Batches per second as set now; 0 is no limit. It is a cap where the closed loop sets the speed."""
        changed = self._control.rate_limit_per_second
        return self.limits.fixed_rate if changed is None else changed

    def wait(self, connection: Connection) -> None:
        """Returns when the next batch may start: not paused, no signal at a hard limit, and due by rate and speed.

        Reads the controls every `control_interval_seconds` while it waits, however slow the rate is. Raises `PressureError`
        at a critical limit.
        """
        while (seconds := self._seconds_left(connection)) > CLOCK_TICK_SECONDS:
            self.limits.sleep(seconds)
        self._last_start = self.limits.clock()

    def next_size(self, size: int, rows: int, seconds: float) -> int:
        """The size of the batch after one of so many rows.

        At the automatic rate it grows towards a duration, which is shorter at a lower speed. Otherwise it halves after a
        slow batch, and grows by a quarter, up to its full size, after a quick one.
        """
        self._worked = seconds
        if self.limits.is_automatic:
            target = self.limits.target_batch_seconds * max(self._share, SHORTEST_SHARE)
            change = min(max(target / max(seconds, CLOCK_TICK_SECONDS), 0.5), 2.0)
            size = size if change > 1 and rows < size else round(size * change)
        elif seconds > self.limits.slow_batch_seconds:
            size //= 2
        else:
            size += max(1, size // 4)
        return max(1, min(size, self.batch_size))

    def _seconds_left(self, connection: Connection) -> float:
        now = self.limits.clock()
        if self._obstacle or now - self._read_at >= self.limits.control_interval_seconds:
            self._read_at = now
            self._obstacle = self._read_obstacle(connection)
        if self._obstacle:
            if self.on_pace:
                self.on_pace(self._obstacle)
            return self.limits.control_interval_seconds
        interval = max(1.0 / self.rate if self.rate else 0.0, self._worked / self._share)
        return min(self._last_start + interval - now, self.limits.control_interval_seconds)

    def _read_obstacle(self, connection: Connection) -> str | None:
        self._control = read_control(connection)
        if self._control.paused:
            return "paused by the operator"
        return self._read_speed(connection) if self.limits.is_automatic else self._read_replicas(connection)

    def _read_speed(self, connection: Connection) -> str | None:
        speed = present_speed(connection)
        if speed is None:
            return "no signal of the database has been read yet"
        obstacle = speed.obstacle()
        self._share = speed.share(speed.workers) or 1.0
        if self._change != speed.id:
            self._change = speed.id
            if self.on_pace and obstacle is None:
                self.on_pace(speed.sentence)
        return obstacle

    def _read_replicas(self, connection: Connection) -> str | None:
        pressure = connection.execute(text_of("backfill/pressure")).fetchone()
        assert pressure is not None
        if pressure["unseen_replicas"]:
            role = connection.info.user
            return (
                f"the lag of {pressure['unseen_replicas']} replicas cannot be seen; GRANT pg_read_all_stats TO {role}"
            )
        lag = pressure["replica_lag_seconds"]
        if lag > self.limits.max_replica_lag_seconds:
            return f"a replica is {lag:.0f} s behind (limit {self.limits.max_replica_lag_seconds:g} s)"
        return None


def size_text(limits: BackfillSettings, changed_size: int | None) -> str:
    """The rows of a batch in words."""
    rows = changed_size or (limits.max_batch_size if limits.is_automatic else limits.batch_size)
    return f"{'at most ' if limits.is_automatic else ''}{rows:,} rows per batch"


def rate_text(limits: BackfillSettings, changed_rate: float | None) -> str:
    """The rate in words; an operator's rate is a cap where the closed loop sets the speed."""
    rate = limits.fixed_rate if changed_rate is None else changed_rate
    batches = f"{rate:g} batches per second"
    if limits.is_automatic:
        return f"automatic speed, at most {batches}" if rate else "automatic speed"
    return batches if rate else "no rate limit"
