"""The signals of pressure on the database that a running backfill reads, and their limits: the one place for both.

At the soft limit the backfill slows down, at the hard limit it waits, at the critical limit the run stops.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

SignalName = Literal[
    "replay_lag",
    "replay_behind",
    "slot_wal",
    "slot_wal_left",
    "wal_rate",
    "archive_queue",
    "oldest_snapshot",
    "dead_rows",
    "blocked_sessions",
    "waiting_batches",
    "active_sessions",
    "checkpoint_wal",
    "free_disk",
    "canary",
    "statement_slowdown",
    "service_slowdown",
]
Grade = Literal["none", "soft", "hard", "unreadable", "critical"]
GRADES: tuple[Grade, ...] = get_args(Grade)
"""From the mildest to the most severe."""

LIMITS: tuple[Grade, ...] = ("soft", "hard", "critical")
SEE_OTHERS = "GRANT pg_read_all_stats TO {role}"
CATCH_UP = "Let it catch up: resume its replay, or look what it waits for."
CONSUME = "Start the consumer of the slot, or drop it: SELECT pg_drop_replication_slot(…)."
LOOK_FOR_LOAD = "Look for locks and load: pg_stat_activity."


@dataclass(frozen=True)
class Signal:
    """One signal: a value at a limit, or beyond, has its effect. With `falling`, low values are the bad ones.

    `remedy` is the next step of the operator; `grant` makes a value readable that this role may not see.
    """

    name: SignalName
    unit: str
    soft: float | None
    hard: float | None
    critical: float | None
    meaning: str
    remedy: str
    grant: str = ""
    falling: bool = False

    def grade(self, value: float) -> Grade:
        """The most severe limit that the value reaches."""
        for name in LIMITS[::-1]:
            limit = getattr(self, name)
            if limit is not None and (value <= limit if self.falling else value >= limit):
                return name
        return "none"


SIGNALS: tuple[Signal, ...] = (
    Signal("replay_lag", "s", 5, 10, None,
        "How far a replica or subscriber is behind in time (pg_stat_replication.replay_lag).",
        CATCH_UP, SEE_OTHERS),
    Signal("replay_behind", "MB", 256, 1024, None,
        "How far a replica or subscriber is behind in WAL.",
        CATCH_UP, SEE_OTHERS),
    Signal("slot_wal", "MB", 1024, 4096, 16384,
        "The WAL that a replication slot retains.",
        CONSUME),
    Signal("slot_wal_left", "%", 50, 25, 10,
        "The share of max_slot_wal_keep_size that is left before a slot is lost.",
        CONSUME, falling=True),
    Signal("wal_rate", "MB/s", 100, 400, None,
        "The WAL that the server writes.", "It is written by all sessions; look in pg_stat_wal."),
    Signal("archive_queue", "files", 16, 64, 1000,
        "WAL files that wait for the archive (where archive_mode is on).",
        "See last_failed_wal in pg_stat_archiver and the server's log; repair archive_command.",
        "GRANT pg_monitor TO {role}"),
    Signal("oldest_snapshot", "s", 300, 3600, None,
        "The age of the oldest transaction in this database that keeps dead rows from being removed.",
        "End the transaction, or wait until it ends.", SEE_OTHERS),
    Signal("dead_rows", "times autovacuum's threshold", 4, 8, None,
        "Dead rows of topics and atoms, where they are more than a million.",
        "Let autovacuum finish, or run VACUUM on the table."),
    Signal("blocked_sessions", "sessions", 1, 5, None,
        "Sessions that wait for a lock of the backfill (pg_blocking_pids).",
        "The backfill makes its batches smaller by itself.", SEE_OTHERS),
    Signal("waiting_batches", "batches", 1, None, None,
        "Batches that wait for a lock of another session.", "See pg_blocking_pids and end that transaction."),
    Signal("active_sessions", "per core", 1, 3, None,
        "Active sessions of others, divided by MIGRATION_SERVER_CORES.",
        "Wait until the load is lower, or correct MIGRATION_SERVER_CORES.", SEE_OTHERS),
    Signal("checkpoint_wal", "times max_wal_size", 1.25, 2, None,
        "WAL since the last completed checkpoint: above 1, checkpoints cannot keep up.",
        "Wait for the checkpoint, or raise max_wal_size."),
    Signal("free_disk", "%", 10, 5, 2,
        "Free space of the data directory, where it is on this machine.", "Free disk space.", falling=True),
    Signal("canary", "ms", 100, 500, None,
        "The time of a read of one topic and one atom by primary key.",
        LOOK_FOR_LOAD),
    Signal("statement_slowdown", "times their mean", 1.5, 3, None,
        "Statements of others in the last 10 s against their mean before (where pg_stat_statements is installed).",
        LOOK_FOR_LOAD, SEE_OTHERS),
    Signal("service_slowdown", "times the hour before", 1.5, 3, None,
        "Operations of the knowledge service in the last minute against the hour before the backfill began.",
        LOOK_FOR_LOAD),
)  # fmt: skip


def changed_signals(
    changes: Mapping[str, Mapping[str, float | None]], disabled: tuple[str, ...] = ()
) -> tuple[Signal, ...]:
    """The signals without the disabled ones, with changed limits; null removes a limit.

    Raises `ValueError` for a name that does not exist: a misspelt one would change nothing, silently.
    """
    known = {signal.name for signal in SIGNALS}
    unknown = sorted({*changes, *disabled} - known)
    if unknown:
        raise ValueError(f"names no signal: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    wrong = sorted({limit for change in changes.values() for limit in change} - set(LIMITS))
    if wrong:
        raise ValueError(f"names no limit: {', '.join(wrong)}; there are {', '.join(LIMITS)}")
    return tuple(_changed(signal, changes.get(signal.name, {})) for signal in SIGNALS if signal.name not in disabled)


def _changed(signal: Signal, change: Mapping[str, float | None]) -> Signal:
    changed = replace(signal, **change)  # type: ignore[arg-type]
    limits = [limit for name in LIMITS if (limit := asdict(changed)[name]) is not None]
    if limits != sorted(limits, reverse=signal.falling):
        raise ValueError(f"orders the limits of {signal.name} as {limits}; from soft to critical they must be stricter")
    return changed
