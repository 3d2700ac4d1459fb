"""What an operator may change while a backfill runs: pause, batch size, rate; and what it must wait for by itself."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

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
    """What the operator has set; None means: as the settings say."""

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
    """Changes what is given and leaves the rest; a running backfill obeys within a second. Audited.

    Raises `PreconditionError` for a batch size or a rate that cannot be.
    """
    _refuse_impossible(batch_size, rate_limit_per_second)
    actor = actor or audit.operator()
    before = read_control(connection)
    values = {"paused": paused, "batch_size": batch_size, "rate_limit_per_second": rate_limit_per_second}
    with connection.transaction():
        row = connection.execute(text_of("backfill/set_control"), {**values, "actor": actor}).fetchone()
        assert row is not None
        audit.record(
            connection,
            AuditAction.SET_BACKFILL_CONTROL,
            "backfill",
            before=vars(before),
            after=dict(row),
            actor=actor,
            reason=reason,
        )
    return Control(**row)


def _refuse_impossible(batch_size: int | None, rate: float | None) -> None:
    if batch_size is not None and not 1 <= batch_size <= LARGEST_BATCH:
        raise PreconditionError(f"A batch has 1 to {LARGEST_BATCH:,} rows, not {batch_size:,}. Nothing was changed.")
    if rate is not None and not (math.isfinite(rate) and rate >= 0):
        raise PreconditionError(
            f"The rate is 0 (no limit) or more batches per second, not {rate:g}. Nothing was changed."
        )


@dataclass
class Throttle:
    """Keeps a backfill to its limits; it has state (when it looked and when the last batch began), so it is a class."""

    limits: BackfillSettings
    on_wait: Callable[[str], None] | None = None
    _control: Control = Control(False, None, None)
    _obstacle: str | None = None
    _looked_at: float = field(default=float("-inf"))
    _last_start: float = field(default=float("-inf"))

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
        """Returns when the next batch may begin: not paused, replicas near, and its turn by the rate.

        However slow the rate, it looks at the controls every `look_every_seconds` while it waits.
        """
        while (seconds := self._seconds_left(connection)) > CLOCK_TICK_SECONDS:
            self.limits.sleep(seconds)
        self._last_start = self.limits.clock()

    def _seconds_left(self, connection: Connection) -> float:
        now = self.limits.clock()
        if self._obstacle or now - self._looked_at >= self.limits.look_every_seconds:
            self._looked_at = now
            self._obstacle = self._look(connection)
        if self._obstacle:
            if self.on_wait:
                self.on_wait(self._obstacle)
            return self.limits.look_every_seconds
        interval = 1.0 / self.rate if self.rate else 0.0
        return min(self._last_start + interval - now, self.limits.look_every_seconds)

    def _look(self, connection: Connection) -> str | None:
        self._control = read_control(connection)
        if self._control.paused:
            return "paused by the operator"
        pressure = connection.execute(text_of("backfill/pressure")).fetchone()
        assert pressure is not None
        lag = pressure["replica_lag_seconds"]
        if lag > self.limits.max_replica_lag_seconds:
            return f"a replica is {lag:.0f} s behind (limit {self.limits.max_replica_lag_seconds:g} s)"
        return None
