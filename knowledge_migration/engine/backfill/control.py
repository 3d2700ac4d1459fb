"""The limits of a running backfill: the settings, what the operator changes meanwhile, and when it waits for replicas."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import BackfillSettings

CLOCK_TICK_SECONDS = 1e-6
LARGEST_BATCH = 50_000


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
    on_wait: Callable[[str], None] | None = None
    _control: Control = Control(False, None, None)
    _obstacle: str | None = None
    _read_at: float = float("-inf")
    _last_start: float = float("-inf")

    @property
    def batch_size(self) -> int:
        """Rows of a full batch as set now."""
        return self._control.batch_size or self.limits.batch_size

    @property
    def rate(self) -> float:
        """Batches per second as set now; 0 is no limit."""
        changed = self._control.rate_limit_per_second
        return self.limits.rate_limit_per_second if changed is None else changed

    def wait(self, connection: Connection) -> None:
        """Returns when the next batch may start: not paused, replicas not behind, and due by the rate.

        Reads the controls every `control_interval_seconds` while it waits, however slow the rate is.
        """
        while (seconds := self._seconds_left(connection)) > CLOCK_TICK_SECONDS:
            self.limits.sleep(seconds)
        self._last_start = self.limits.clock()

    def _seconds_left(self, connection: Connection) -> float:
        now = self.limits.clock()
        if self._obstacle or now - self._read_at >= self.limits.control_interval_seconds:
            self._read_at = now
            self._obstacle = self._read_obstacle(connection)
        if self._obstacle:
            if self.on_wait:
                self.on_wait(self._obstacle)
            return self.limits.control_interval_seconds
        interval = 1.0 / self.rate if self.rate else 0.0
        return min(self._last_start + interval - now, self.limits.control_interval_seconds)

    def _read_obstacle(self, connection: Connection) -> str | None:
        self._control = read_control(connection)
        if self._control.paused:
            return "paused by the operator"
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
