"""The live processes of the service, the flag version that each has acknowledged, and the transactions that are open.

The service reads the flags inside each transaction that writes, so a transaction that begins after a change follows it. Waits are
bounded and raise `FenceError`, which names the missing processes or transactions. Nothing is changed.
"""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.tables import writer_heartbeat
from knowledge_migration.settings import FenceSettings

Rows = list[dict[str, Any]]


class FenceError(Exception):
    """A process has not acknowledged the flags, or an older transaction has not ended, within the timeout."""


def live_writers_query(live_seconds: float) -> sa.Select[Any]:
    """The processes that have reported within `live_seconds`, with the mode and the flag version that they follow."""
    heartbeat, now = writer_heartbeat.c, sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))
    age = sa.func.round(sa.cast(sa.extract("epoch", now - heartbeat.seen_at), sa.Numeric), 1)
    columns = (
        heartbeat.process,
        heartbeat.mode,
        heartbeat.flag_version,
        heartbeat.url,
        heartbeat.seen_at,
        age.label("seconds_ago"),
    )
    live = heartbeat.seen_at > now - timedelta(seconds=live_seconds)
    return sa.select(*columns).where(live).order_by(heartbeat.process)


def live_processes(connection: sa.Connection, live_seconds: float) -> tuple[str, ...]:
    """The names of the live processes."""
    return tuple(connection.execute(live_writers_query(live_seconds)).scalars())


def wait_until_acknowledged(
    connection: sa.Connection, flags: Flags, timeouts: FenceSettings, *, need_one: bool = True
) -> tuple[str, ...]:
    """Waits until every live process has acknowledged these flags; returns their names. Needs autocommit.

    Raises `FenceError` naming the processes that have not, or saying that none is live if one is needed.
    """
    until = timeouts.clock() + timeouts.seconds
    while True:
        live = _rows(connection, live_writers_query(timeouts.live_seconds))
        missing = [row for row in live if row["flag_version"] < flags.version]
        if not missing and (live or not need_one):
            return tuple(row["process"] for row in live)
        if timeouts.clock() >= until:
            raise FenceError(_not_acknowledged(missing, flags, timeouts))
        timeouts.sleep(timeouts.poll_seconds)


def drain(connection: sa.Connection, timeouts: FenceSettings) -> None:
    """Waits until every transaction that is open now has ended. Needs autocommit; raises `FenceError` naming those left."""
    until = timeouts.clock() + timeouts.seconds
    older = _open_transactions(connection)
    while left := older.keys() & _open_transactions(connection).keys():
        if timeouts.clock() >= until:
            sessions = "; ".join(_session(older[key]) for key in sorted(left, key=str))
            raise FenceError(
                f"Transactions that began before the flags changed are still open after {timeouts.seconds:g} s: {sessions}. "
                "They may still write under the old flags. End them, or wait, then run this again; the flags stay set."
            )
        timeouts.sleep(timeouts.poll_seconds)


def listed(rows: Rows) -> str:
    """The processes with their mode, flag version and age, for a message."""
    return "; ".join(
        f"{row['process']} (mode {row['mode']}, flag version {row['flag_version']}, {row['seconds_ago']} s ago)"
        for row in rows
    )


def _open_transactions(connection: sa.Connection) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Of this database, prepared ones too, without our own session. Reads views only.

    Each open transaction holds the lock of its virtual id, which every role sees; the start, state and query of a session of
    another role are visible with pg_read_all_stats only.
    """
    names = ("pid", "application_name", "usename", "xact_start", "state", "query", "datname", "usesysid")
    session = sa.table("pg_stat_activity", *map(sa.column, names)).c
    held = sa.table("pg_locks", *map(sa.column, ("pid", "virtualtransaction", "locktype", "mode", "granted"))).c
    prepared = sa.table("pg_prepared_xacts", *map(sa.column, ("gid", "prepared", "database"))).c
    here = sa.func.current_database()
    named = sa.func.coalesce(sa.func.nullif(session.application_name, ""), "unnamed application")
    open_ones = sa.select(
        session.pid,
        held.virtualtransaction.label("transaction"),
        named.concat(" of ").concat(session.usename).label("application"),
        session.xact_start.label("since"),
        sa.func.coalesce(session.state, "state not visible").label("state"),
        sa.func.left(session.query, 80).label("query"),
    ).where(
        held.locktype == "virtualxid",
        held.mode == "ExclusiveLock",
        held.granted,
        held.pid == session.pid,
        session.datname == here,
        session.usesysid.is_not(None),  # a user's session, not a worker of the server
        session.pid != sa.func.pg_backend_pid(),
    )
    application = sa.literal("prepared transaction ").concat(prepared.gid)
    prepared_ones = sa.select(
        sa.null(), prepared.gid, application, prepared.prepared, sa.literal("prepared"), sa.literal("")
    ).where(prepared.database == here)
    rows = _rows(connection, sa.union_all(open_ones, prepared_ones))
    return {(row["pid"], row["transaction"]): row for row in rows}


def _rows(connection: sa.Connection, query: sa.Select[Any] | sa.CompoundSelect[Any]) -> Rows:
    return [dict(row) for row in connection.execute(query).mappings()]


def _not_acknowledged(missing: Rows, flags: Flags, timeouts: FenceSettings) -> str:
    if not missing:
        return (
            f"No process of the knowledge service has reported within {timeouts.live_seconds:g} s, so none can acknowledge "
            "the flags. Start the service (knowledge-migration serve) and run this again; the flags stay set. If another "
            "application writes topics or atoms, set DUAL_WRITE_CAPTURE=database, or stop it. If no process writes at all, set "
            "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true and continue with the backfill."
        )
    return (
        f"These processes have not acknowledged version {flags.version} of the flags within {timeouts.seconds:g} s: "
        f"{listed(missing)}. Restart or stop them and run this again; the flags stay set."
    )


def _session(row: dict[str, Any]) -> str:
    name = f"pid {row['pid']} ({row['application']})" if row["pid"] else row["application"]
    since = f" since {row['since']:%H:%M:%S}" if row["since"] else ""
    return f"{name}{since}, {row['state']}: {row['query']}"
