"""What the backfill tests share: rows with every oddity, a backfill of everything, and what must hold afterwards."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from knowledge_migration.engine.backfill import completion, plan, runner
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation import rules
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.support.some_rows import ODD_ROWS

T = TypeVar("T")

ATOMS_FILLED = 400

QUICK = BackfillSettings(batch_size=50, rate_limit_per_second=0, lock_timeout_ms=200, sleep=lambda _: None)


def fill(database: Database) -> None:
    """Topics and atoms with NULLs, zeros, JSON nulls, unknown types and several topics each."""
    with database.connect("test") as connection:
        connection.execute(ODD_ROWS)


def partitions(connection: Connection, partition_rows: int = 100) -> list[plan.Partition]:
    """Every partition of both tables, small ones."""
    plans = plan.make_plan(connection, partition_rows=partition_rows, max_partitions=200)
    return [part for made in plans.values() for part in made.partitions]


def backfill(
    database: Database, limits: BackfillSettings = QUICK, on_progress: Any = None, *, partition_rows: int = 100
) -> completion.Completion:
    """Plan, partitions and completion."""
    with database.connect("test") as connection:
        parts = partitions(connection, partition_rows)
    for part in parts:
        runner.backfill_partition(database, part, limits, on_progress=on_progress)
    return completion.complete(database, limits)


def broken_rules(connection: Connection) -> dict[str, int]:
    """The rules that do not hold, with how many rows break each."""
    outcomes = [rules.evaluate(connection, rule) for rule in rules.RULES]
    return {outcome.name: outcome.count for outcome in outcomes if not outcome.passed}


def count(connection: Connection, query: str) -> int:
    """The single number that a query returns."""
    row = connection.execute(query).fetchone()
    assert row
    return int(next(iter(row.values())))


def until(connection: Connection, query: str, *, seconds: float = 120.0) -> None:
    """Returns when the single value of a query is true; fails when it never is."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if count(connection, query):
            return
        pause.wait(0.02)
    raise AssertionError(f"never came true: {query}")


def blocked_by(connection: Connection, holder: Connection, application: str = "") -> None:
    """Returns when a session of `application` (any by default) waits for a lock of the session `holder`."""
    until(
        connection,
        f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {holder.info.backend_pid} = ANY (pg_blocking_pids(pid)) "  # noqa: S608
        f"AND application_name LIKE '%%{application}%%')",
    )


def gone(connection: Connection, application: str = "knowledge_migration backfill") -> None:
    """Returns when the server has noticed that the processes of an application have ended."""
    until(
        connection,
        f"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '{application}%%')",  # noqa: S608
    )


@contextmanager
def at_the_same_time(work: Callable[[], T]) -> Iterator["Future[T]"]:
    """Does `work` in a thread while the block runs; its result or error is the future's."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


LEGACY_COLUMNS = {
    "topics": "id, name, description, icon, color, created_at, updated_at",
    "atoms": "id, type, title, content, confidence::text, user_approved, meta::text, embedding::text, created_at, updated_at",
}


def legacy_values(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Every legacy value of topics and atoms."""
    return {
        table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()  # noqa: S608
        for table, columns in LEGACY_COLUMNS.items()
    }
