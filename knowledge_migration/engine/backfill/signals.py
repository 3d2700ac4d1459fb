"""Reads the signals of pressure on the database. A signal that is expected here and cannot be read is a reading of its own.

Expected are all that are not disabled, and whose subject exists: an archive, a data directory on this machine, statistics of
statements. A replica, slot or operation that does not exist gives no reading.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.sql_files import CatalogText, statement, text_of
from knowledge_migration.pressure import Grade, Signal

STATEMENTS_WINDOW_SECONDS = 10.0
STATEMENTS_CALLS = 50
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
MEGABYTE = 2**20


def server_disk(connection: Connection, data_directory: str | None) -> "shutil._ntuple_diskusage | None":
    """The disk of the server's data directory, where the server runs on this machine and the directory is visible."""
    host = connection.info.host
    is_here = data_directory and (host.startswith("/") or host in LOCAL_HOSTS) and Path(data_directory).is_dir()
    return shutil.disk_usage(data_directory) if data_directory and is_here else None


@dataclass(frozen=True)
class SignalReading:
    """A value of a signal, or the `problem` why there is none; `subject` is a replica, slot, table or session."""

    signal: Signal
    value: float | None
    subject: str = ""
    problem: str = ""

    @property
    def grade(self) -> Grade:
        """Its severity."""
        return "unreadable" if self.value is None else self.signal.grade(self.value)

    @property
    def sentence(self) -> str:
        """The value and its limit, or why it cannot be read, and the next step."""
        signal, of = self.signal, f" of {self.subject}" if self.subject else ""
        if self.value is None:
            disable = f"disable it with MIGRATION_DISABLED_SIGNALS='[\"{signal.name}\"]'"
            return f"{signal.name}{of} cannot be read: {self.problem}, or {disable}."
        value = f"{signal.name}{of} is {self.value:,.4g} {signal.unit}"
        if self.grade == "none":
            return f"{value}."
        return f"{value} ({self.grade} limit {getattr(signal, self.grade):g}). {signal.remedy}"


@dataclass
class SignalReader:
    """Reads all signals of one session; keeps what the next reading is compared with."""

    signals: tuple[Signal, ...]
    cores: int
    clock: Callable[[], float] = time.monotonic
    _wal: tuple[float, float] | None = None
    _statements: dict[int, tuple[float, float]] = field(default_factory=dict)
    _statements_at: float = float("-inf")
    _slowdown: float | None = None

    def read(self, connection: Connection) -> list[SignalReading]:
        """Each signal's readings. A lost connection raises; any other error of one signal makes that one unreadable."""
        here = connection.execute(text_of("pace/circumstances")).fetchone()
        assert here is not None  # a SELECT without FROM
        return [one for signal in self.signals for one in self._readings(connection, signal, here)]

    def _readings(self, connection: Connection, signal: Signal, here: Mapping[str, Any]) -> Iterator[SignalReading]:
        grant = signal.grant.format(role=connection.info.user)
        try:
            for subject, value in self._values(connection, signal, here):
                yield SignalReading(signal, value, subject, "" if value is not None else grant)
        except psycopg.Error as error:
            if connection.broken:
                raise
            denied = isinstance(error, psycopg.errors.InsufficientPrivilege) and grant
            yield SignalReading(signal, None, problem=grant if denied else reason_of(error))

    def _values(
        self, connection: Connection, signal: Signal, here: Mapping[str, Any]
    ) -> list[tuple[str, float | None]]:
        special = {
            "wal_rate": self._wal_rate, "canary": self._canary, "free_disk": self._free_disk,
            "statement_slowdown": self._statement_slowdown,
        }  # fmt: skip
        if signal.name in special:
            return special[signal.name](connection, here)
        if signal.name == "archive_queue" and not here["archives"]:
            return []
        rows = connection.execute(text_of(f"pace/{signal.name}"), {"cores": self.cores})
        return [(row["subject"], row["value"]) for row in rows]

    def _wal_rate(self, connection: Connection, _: Mapping[str, Any]) -> list[tuple[str, float | None]]:
        row = connection.execute(text_of("pace/wal_position")).fetchone()
        assert row is not None
        before, self._wal = self._wal, (self.clock(), row["bytes"])
        if before is None or self._wal[0] <= before[0]:
            return []
        return [("", (self._wal[1] - before[1]) / MEGABYTE / (self._wal[0] - before[0]))]

    def _canary(self, connection: Connection, _: Mapping[str, Any]) -> list[tuple[str, float | None]]:
        """Its milliseconds; a canary that is cancelled by the session's timeout has its time, too."""
        started = self.clock()
        with suppress(psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
            connection.execute(text_of("pace/canary"))
        return [("", (self.clock() - started) * 1000)]

    def _free_disk(self, connection: Connection, here: Mapping[str, Any]) -> list[tuple[str, float | None]]:
        disk = server_disk(connection, here["data_directory"])
        return [(here["data_directory"], 100 * disk.free / disk.total)] if disk else []

    def _statement_slowdown(self, connection: Connection, here: Mapping[str, Any]) -> list[tuple[str, float | None]]:
        if here["statements_schema"] is None:
            return []
        if self.clock() - self._statements_at >= STATEMENTS_WINDOW_SECONDS:
            view = CatalogText(f"{here['statements_schema']}.pg_stat_statements")
            try:
                rows = connection.execute(statement("pace/statements", statements=view)).fetchall()
            except psycopg.errors.ObjectNotInPrerequisiteState:
                return []  # the library is not loaded: there are no statistics
            if any(row["hidden"] for row in rows):
                return [("", None)]
            self._statements_at = self.clock()
            before, self._statements = (
                self._statements,
                {row["queryid"]: (row["calls"], row["milliseconds"]) for row in rows},
            )
            self._slowdown = slowdown(before, self._statements)
        return [] if self._slowdown is None else [("", self._slowdown)]


def slowdown(before: Mapping[int, tuple[float, float]], now: Mapping[int, tuple[float, float]]) -> float | None:
    """The time of the calls since, divided by their number times the mean of each statement before; None for few calls."""
    calls = actual = expected = 0.0
    for query, (calls_now, milliseconds_now) in now.items():
        calls_before, milliseconds_before = before.get(query, (0.0, 0.0))
        if calls_before and calls_now > calls_before:
            calls += calls_now - calls_before
            actual += milliseconds_now - milliseconds_before
            expected += (calls_now - calls_before) * milliseconds_before / calls_before
    return actual / expected if calls >= STATEMENTS_CALLS and expected > 0 else None
