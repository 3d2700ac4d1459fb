"""The closed loop of the backfill's speed: one speed per database, additive increase, multiplicative decrease.

The newest row of `migration.backfill_speed` holds for all workers. Each runs a keeper, a thread with a session of its own;
once a second one of them reads the signals. Without a fresh reading the workers wait.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from knowledge_migration.engine.backfill.signals import SignalReader, SignalReading
from knowledge_migration.engine.foundation.database import Connection, Database, UnreachableError, exists
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.pressure import GRADES, Grade
from knowledge_migration.settings import BackfillSettings

START, STEP, FACTOR, FLOOR = 1.0, 0.1, 0.5, 0.02
"""Levels: one worker without pauses at first; more per reading without pressure; less with it; the least that is not a wait."""

NEW_RUN_SECONDS = 60.0
STALE_SECONDS = 10.0
KEPT_CHANGES = 10_000
SESSION = {"statement_timeout": "2000", "lock_timeout": "1000", "jit": "off"}
LEDGER = "migration.backfill_speed"
HEADROOM = "no signal is at its limit"


class PressureError(MigrationError):
    """A signal reached its critical limit."""


@dataclass(frozen=True)
class Speed:
    """How much of the time batches run, in all workers together: 1 is one worker without pauses, 0 a wait; and why."""

    level: float
    signal: str | None
    grade: Grade
    reason: str

    def share(self, workers: int) -> float:
        """The part of its time that each of so many workers may use."""
        return min(1.0, self.level / max(workers, 1))


def next_speed(present: Speed | None, readings: Sequence[SignalReading], workers: int) -> Speed:
    """The speed after a reading: `present` None is the first of a run. Pure."""
    worst = max(readings, key=lambda one: GRADES.index(one.grade), default=None)
    grade: Grade = worst.grade if worst else "none"
    before = START if present is None else min(present.level, max(workers, START))
    if worst is None or grade == "none":
        faster = before if present is None else min(before + STEP, max(workers, START))
        return Speed(round(faster, 3), None, "none", HEADROOM)
    if grade == "soft":
        level = max(FLOOR, before * FACTOR)
        return Speed(round(level, 3), worst.signal.name, grade, worst.sentence)
    return Speed(0.0, worst.signal.name, grade, worst.sentence)


@dataclass(frozen=True)
class PresentSpeed(Speed):
    """The newest row: its number, when the signals were read, and how many workers share it."""

    id: int
    age_seconds: float
    workers: int

    def obstacle(self) -> str | None:
        """Why no batch may start; None if one may. Raises `PressureError` at a critical limit."""
        if self.age_seconds > STALE_SECONDS:
            return f"the signals of the database have not been read for {self.age_seconds:,.0f} s"
        if self.grade == "critical":
            raise PressureError(
                f"The backfill stopped: {self.reason} Committed batches stay; run the backfill again afterwards to resume."
            )
        return None if self.level else self.reason

    @property
    def sentence(self) -> str:
        """The level and its reason."""
        return f"speed {self.share(self.workers):.0%}: {self.reason}"


def present_speed(connection: Connection) -> PresentSpeed | None:
    """The speed that holds now; None before the first run."""
    row = connection.execute(text_of("pace/newest")).fetchone()
    return PresentSpeed(**row) if row else None


def take_turn(connection: Connection, reader: SignalReader, interval_seconds: float) -> None:
    """Reads the signals and records the speed, unless another process has done so within the interval."""
    claimed = connection.execute(text_of("pace/claim"), {"seconds": 0.9 * interval_seconds}).fetchone()
    if claimed is None:
        return
    number, age = claimed.pop("id"), claimed.pop("age_seconds")
    before = Speed(**claimed)
    newest = present_speed(connection)
    present = before if age <= NEW_RUN_SECONDS else None
    speed = next_speed(present, reader.read(connection), newest.workers if newest else 1)
    same = (speed.level, speed.signal, speed.grade) == (before.level, before.signal, before.grade)
    if same and present:
        connection.execute(text_of("pace/confirm"), {"id": number})
    else:
        connection.execute(text_of("pace/record"), {**vars(speed), "kept": KEPT_CHANGES})


@contextmanager
def kept_speed(database: Database, limits: BackfillSettings) -> Iterator[None]:
    """Keeps the speed current while the block runs, from before its first batch; does nothing at a fixed rate."""
    if not limits.is_automatic:
        yield
        return
    reader = SignalReader(limits.signals, limits.cores)
    with database.connect("backfill signals", settings=SESSION) as connection:
        if not exists(connection, LEDGER):
            raise PreconditionError(f"The table {LEDGER} does not exist: run phase 1 (job phase_1_schema) again.")
        connection.execute(text_of("pace/seed"))
        take_turn(connection, reader, 0.0)  # a reading of its own: the newest may be of a run that has stopped
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(database, limits, reader, ended), name="backfill signals", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep(database: Database, limits: BackfillSettings, reader: SignalReader, ended: threading.Event) -> None:
    """Takes turns until the block ends; connects again after an error, while the workers wait for a fresh reading."""
    while not ended.is_set():
        try:
            with database.connect("backfill signals", settings=SESSION) as connection:
                while not ended.wait(limits.control_interval_seconds):
                    take_turn(connection, reader, limits.control_interval_seconds)
        except (psycopg.Error, UnreachableError):
            ended.wait(limits.control_interval_seconds)
