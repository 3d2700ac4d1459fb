"""The speed of the backfill relative to one INSERT ... SELECT plus UPDATE, and to the strategy's loop (§5.2, corrected to end).

With the default settings, so under the closed loop; two partitions in parallel; without the unique index on the link; and with
batches of a fixed size. Beside the speed it prints the CPU time of the sessions and of this process, for machines that are busy.

Usage: make bench, or python -m knowledge_migration_tests.benchmarks.backfill [--data FOLDER] [--rounds 3]. The arms run
interleaved on fresh copies of one database: that of the folder (JSON lines), or many copies of the demonstration.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psutil
from psycopg import sql
from psycopg.types.json import Jsonb
from rich.console import Console
from rich.table import Table

from knowledge_migration.demo.loader import build_legacy_schema, load
from knowledge_migration.demo.python_documentation import PythonDocumentation
from knowledge_migration.engine.backfill.plan import make_plan
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.origin_proposals import proposal_columns
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge.entity_kinds import ATOM
from knowledge_migration.settings import BackfillSettings, SchemaChangeSettings
from knowledge_migration_tests.conftest import SHARED_DATA
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.json_lines import JsonLinesFolder

COPIES_OF_DEMONSTRATION = 30
STRATEGY_ROWS = 3_000
console = Console(highlight=False, width=120)

COPY_ATOMS = """
INSERT INTO atoms (type, title, content, confidence, user_approved, meta, created_at, updated_at)
SELECT type, left(title, 190) || ' ' || copy, content, confidence, user_approved, meta, created_at, updated_at
FROM atoms CROSS JOIN generate_series(2, %s) AS copy
"""
COPY_RELATIONS = """
INSERT INTO topic_atoms (topic_id, atom_id, position, note)
SELECT topic_id, atom_id + copy * (SELECT count(*) FROM atoms) / %s, position, note
FROM topic_atoms CROSS JOIN generate_series(1, %s - 1) AS copy ON CONFLICT DO NOTHING
"""


def main() -> None:
    """Prints the speeds and ratios."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=SHARED_DATA / "large", help="folder of a real knowledge base")
    arguments.add_argument("--copies", type=int, default=COPIES_OF_DEMONSTRATION, help="of the demonstration")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batch-size", type=int, nargs="*", default=[100, 1_000])
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmbench_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        rows = prepare(server, given.data, given.copies)
        console.print(f"{rows:,} atoms, {given.rounds} rounds, interleaved on fresh copies of one database")
        report(measure(server, rows, given.rounds, given.batch_size))


def prepare(server: EmbeddedServer, data: Path, copies: int) -> int:
    """Creates a template with the knowledge base after phase 1; returns the number of atoms."""
    template = server.ensure_database("template_atoms")
    build_legacy_schema(template)
    if data.is_dir():
        load(template, JsonLinesFolder(data))
    else:
        load(template, PythonDocumentation())
        with template.connect("bench") as connection:
            connection.execute(COPY_ATOMS, (copies,))
            connection.execute(COPY_RELATIONS, (copies, copies))
    schema.upgrade(template, SchemaChangeSettings())
    with template.connect("bench") as connection:
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT count(*) AS n FROM atoms").fetchone()
    assert row
    return int(row["n"])


Arms = dict[str, list[float]]
DEFAULTS = "default settings"
WITHOUT_INDEX = "default settings, without the link index"
BUILD = "CREATE UNIQUE INDEX CONCURRENTLY idx_atoms_migration ON atoms (migrated_from_proposal_id)"


@dataclass
class Measured:
    """Rows per second of each arm and round, its CPU seconds per million rows, and what else was observed."""

    server: EmbeddedServer
    speeds: Arms = field(default_factory=dict)
    cpu: Arms = field(default_factory=dict)
    slowest: float = 0.0
    changes: dict[str, list[str]] = field(default_factory=dict)
    build_seconds: list[float] = field(default_factory=list)
    hot_share: dict[str, float] = field(default_factory=dict)

    def add(self, arm: str, rows: int, work: Callable[[], object]) -> None:
        """One round of an arm."""
        cpu = cpu_seconds(self.server)
        seconds = timed(work)
        cpu = cpu_seconds(self.server) - cpu
        self.speeds.setdefault(arm, []).append(rows / seconds)
        self.cpu.setdefault(arm, []).append(1e6 * cpu / rows)
        console.print(f"  {arm}: {rows / seconds:,.0f} rows/s, {1e6 * cpu / rows:,.0f} s of CPU per million rows")


def measure(server: EmbeddedServer, rows: int, rounds: int, sizes: list[int]) -> Measured:
    """All arms, interleaved."""
    measured = Measured(server)
    fixed = {f"batches of {size}": BackfillSettings(batch_size=size, rate_limit_per_second=0) for size in sizes}
    for number in range(rounds):
        console.print(f"round {number + 1}")
        with fresh(server) as database:
            measured.add("one statement", rows, lambda: one_statement(database))
        for arm, limits in {DEFAULTS: BackfillSettings(), **fixed}.items():
            with fresh(server) as database:
                run_arm(measured, database, arm, rows, limits)
        with fresh(server) as database:
            run_arm(measured, database, "two partitions in parallel", rows, BackfillSettings(), workers=2)
        with fresh(server) as database:
            execute(database, "DROP INDEX idx_atoms_migration")
            run_arm(measured, database, WITHOUT_INDEX, rows, BackfillSettings())
            measured.build_seconds.append(timed(lambda: execute(database, BUILD)))
        with fresh(server) as database:
            measured.add("strategy's loop", STRATEGY_ROWS, lambda: strategy_loop(database))
    return measured


def execute(database: Database, statement: LiteralString) -> None:
    """One statement in a session of its own."""
    with database.connect("bench") as connection:
        connection.execute(statement)


def run_arm(
    measured: Measured, database: Database, arm: str, rows: int, limits: BackfillSettings, workers: int = 1
) -> None:
    """One round of an arm of the backfill."""
    slowest: list[float] = []
    measured.add(arm, rows, lambda: slowest.append(backfill(database, limits, workers)))
    measured.slowest = max(measured.slowest, *slowest)
    with database.connect("bench") as connection:
        slower = connection.execute("SELECT level, reason FROM migration.backfill_speed WHERE grade <> 'none'")
        measured.changes.setdefault(arm, []).extend(f"{row['level']:.0%}: {row['reason']}" for row in slower)
        connection.execute("SELECT pg_stat_force_next_flush()")
        hot = connection.execute(
            "SELECT n_tup_hot_upd::float8 / greatest(n_tup_upd, 1) AS share FROM pg_stat_user_tables WHERE relname = 'atoms'"
        ).fetchone()
    measured.hot_share[arm] = hot["share"] if hot else 0.0


def cpu_seconds(server: EmbeddedServer) -> float:
    """The CPU time of all sessions that have ended, and of this process."""
    comes_true(lambda: not any(is_of_the_benchmark(one) for one in psutil.Process(server.pid).children()))
    sessions = psutil.Process(server.pid).cpu_times()
    return sessions.children_user + sessions.children_system + time.process_time()


def is_of_the_benchmark(session: psutil.Process) -> bool:
    """Whether a process is a session in a copy, or one that has ended and is not counted yet."""
    try:
        title = " ".join(session.cmdline())  # empty while the process ends
        return not title or "bench_" in title
    except psutil.NoSuchProcess:
        return False


def timed(work: Callable[[], object]) -> float:
    """The duration of a function in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def fresh(server: EmbeddedServer) -> Iterator[Database]:
    """A copy of the template, after a checkpoint; dropped afterwards."""
    name = f"bench_{uuid4().hex[:8]}"
    with server.admin.connect("bench") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template_atoms").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")
        try:
            yield server.database(name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def one_statement(database: Database) -> None:
    """The reference: the same proposals and links by one INSERT ... SELECT and one UPDATE in one transaction."""
    columns = proposal_columns(ATOM)
    insert = sql.SQL(
        "INSERT INTO atom_proposals (id, extraction_run_id, {columns}, status, reasoning, review_action, review_notes, "
        "reviewed_at, created_at) SELECT migration.origin_proposal_id('atoms', source.id), %(run)s, {values}, 'approved', "
        "'Migrated from existing production data', 'auto_approve_migration', "
        "'Backfilled during migration to proposal system', now(), now() "
        "FROM (SELECT atoms.*, NULL::text AS quarantine_policy FROM atoms) AS source"
    ).format(
        columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        values=sql.SQL(", ").join(value for _, value in columns),
    )
    with database.connect("bench") as connection:
        run = open_run(connection)
        with connection.transaction():
            connection.execute(insert, {"run": run})
            connection.execute(
                "UPDATE atoms SET migrated_from_proposal_id = migration.origin_proposal_id('atoms', id), "
                "migration_timestamp = now()"
            )


def backfill(database: Database, limits: BackfillSettings, workers: int) -> float:
    """The partitions of the plan, by so many workers; returns the slowest batch in seconds."""
    with database.connect("bench") as connection:
        rows = count(connection, "SELECT count(*) FROM atoms")
        plan = make_plan(connection, partition_rows=min(50_000, max(1, rows // 2)), max_partitions=200)["atom"]
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda partition: backfill_partition(database, partition, limits), plan.partitions))
    assert not any(result.remaining or result.quarantined_rows for result in results)
    return max(result.slowest_batch_seconds for result in results)


def strategy_loop(database: Database) -> None:
    """The strategy's §5.2 over some thousand rows: one flush per row, one commit per 100 rows, without its sleep, by keyset."""
    with database.connect("bench") as connection:
        run, after = open_run(connection), 0
        for _ in range(STRATEGY_ROWS // 100):
            with connection.transaction():
                after = strategy_batch(connection, run, after)


def strategy_batch(connection: Connection, run: object, after: int) -> int:
    """One hundred rows with two round trips each."""
    rows = connection.execute(
        "SELECT id, type, title, content, meta, confidence FROM atoms WHERE id > %s ORDER BY id LIMIT 100", (after,)
    ).fetchall()
    for row in rows:
        proposal = uuid4()
        connection.execute(
            "INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, meta, status, confidence, reasoning, "
            "review_action, reviewed_at) VALUES (%s, %s, %s, %s, %s, %s, 'approved', %s, 'x', 'auto_approve_migration', now())",
            (proposal, run, row["type"], row["title"], row["content"], Jsonb(row["meta"]), row["confidence"]),
        )
        connection.execute(
            "UPDATE atoms SET migrated_from_proposal_id = %s, migration_timestamp = now() WHERE id = %s",
            (proposal, row["id"]),
        )
    return int(rows[-1]["id"])


def report(measured: Measured) -> None:
    """The median speeds and the median of the ratios round by round."""
    speeds = measured.speeds
    table = Table(
        "arm", "rows/s (median)", "ratio to one statement (median of rounds)", "ratio by CPU time", "HOT updates"
    )
    for arm, values in speeds.items():
        ratios = [value / base for value, base in zip(values, speeds["one statement"], strict=True)]
        by_cpu = [base / value for value, base in zip(measured.cpu[arm], measured.cpu["one statement"], strict=True)]
        hot = f"{measured.hot_share[arm]:.0%}" if arm in measured.hot_share else ""
        shown = (f"{statistics.median(each):.2f}" for each in (ratios, by_cpu))
        table.add_row(arm, f"{statistics.median(values):,.0f}", *shown, hot)
    console.print(table)
    console.print(f"slowest batch of all: {measured.slowest * 1000:.0f} ms (bar: 500 ms)")
    console.print(f"the link index built afterwards: {statistics.median(measured.build_seconds):.1f} s")
    for arm, changes in measured.changes.items():
        for change, times in Counter(changes).items():
            console.print(f"{arm}: {times} times {change}")


if __name__ == "__main__":
    main()
