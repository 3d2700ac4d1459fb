"""Rollbacks: seconds until every live process acknowledges under load, and how the rollback of a backfill scales with rows.

Usage: make bench, or python -m knowledge_migration_tests.benchmarks.rollback [--data FOLDER] [--rounds 5]. The rollbacks of all
rows and of a quarter of the rows run interleaved on fresh copies of one database.
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from knowledge_migration.demo.live_application import free_port, running_process, wait_until_healthy
from knowledge_migration.engine.backfill.plan import make_plan
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.settings import BackfillSettings, FenceSettings, Settings
from knowledge_migration_tests.benchmarks.backfill import COPIES_OF_DEMONSTRATION, fresh, prepare
from knowledge_migration_tests.conftest import SHARED_DATA

PROCESSES, REQUESTS_PER_SECOND, PAUSE_SECONDS = 3, 30, 3.0
BATCH, PARTS = 1_000, 4
console = Console(highlight=False, width=120)


def main() -> None:
    """Prints both tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=SHARED_DATA / "large", help="folder of a real knowledge base")
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmbench_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        rows = prepare(server, given.data, COPIES_OF_DEMONSTRATION)
        console.print(f"{rows:,} atoms, {given.rounds} rounds")
        acknowledgement(server, given.rounds, Path(folder))
        growth(server, given.rounds)


def acknowledgement(server: EmbeddedServer, rounds: int, folder: Path) -> None:
    """Several instant rollbacks, with several processes of the service under traffic."""
    with ExitStack() as stack:
        database = stack.enter_context(fresh(server))
        variables = {
            **os.environ,
            "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
            "KNOWLEDGE_MIGRATION_HOME": str(folder),
        }
        ports = [free_port() for _ in range(PROCESSES)]
        for port in ports:
            stack.enter_context(
                running_process(["serve", "--port", str(port)], folder / f"serve_{port}.log", variables)
            )
        for port in ports:
            assert wait_until_healthy(f"http://127.0.0.1:{port}"), f"no service on port {port}"
        for port in ports:
            options = ["traffic", "--url", f"http://127.0.0.1:{port}", "--rate", str(REQUESTS_PER_SECOND / PROCESSES)]
            stack.enter_context(
                running_process([*options, "--seed", str(port)], folder / f"traffic_{port}.log", variables)
            )
        seconds = [one_rollback(database) for _ in range(rounds)]
    table = Table("instant rollback under load", "processes", "requests per second", "median s", "slowest s")
    values = [f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}"]
    table.add_row("every live process acknowledges", str(PROCESSES), str(REQUESTS_PER_SECOND), *values)
    console.print(table)


def one_rollback(database: Database) -> float:
    """Full cutover for some seconds, then a rollback; seconds until the last process acknowledges."""
    with database.begin() as transaction:
        set_flags(transaction, STAGE_FLAGS["full_cutover"], initial=Flags(), actor="bench", reason="bench")
    time.sleep(PAUSE_SECONDS)
    done = roll_back(database, Flags(), Settings(fence=FenceSettings(seconds=30)), "instant", reason="bench")
    assert len(done.processes) == PROCESSES
    assert done.acknowledged_seconds is not None
    return done.acknowledged_seconds


def backfill_atoms(database: Database, parts: int) -> None:
    """Backfills the atoms of the given number of quarters of the ids."""
    with database.connect("bench") as connection:
        open_run(connection)
        whole = make_plan(connection, partition_rows=1, max_partitions=PARTS)["atom"]
    limits = BackfillSettings(batch_size=BATCH, rate_limit_per_second=0)
    for partition in whole.partitions[:parts]:
        backfill_partition(database, partition, limits)


def growth(server: EmbeddedServer, rounds: int) -> None:
    """The rollback of a quarter of the rows and of all rows, interleaved."""
    each: dict[str, list[tuple[int, float]]] = {"a quarter": [], "all": []}
    for _ in range(rounds):
        for name, results in each.items():
            with fresh(server) as database:
                backfill_atoms(database, 1 if name == "a quarter" else PARTS)
                done = rollback_backfill(database, reason="bench", limits=BackfillSettings())
                results.append((sum(done.deleted_proposals.values()), done.seconds))
    table = Table("rollback of the backfill", "rows", "median s", "rows/s", "µs per row")
    medians = {name: statistics.median(seconds for _, seconds in results) for name, results in each.items()}
    for name, results in each.items():
        rows = results[0][0]
        micros = 1e6 * medians[name] / rows
        table.add_row(name, f"{rows:,}", f"{medians[name]:.2f}", f"{rows / medians[name]:,.0f}", f"{micros:.0f}")
    console.print(table)
    cost = {name: medians[name] / results[0][0] for name, results in each.items()}
    console.print(f"Time per row, all rows relative to a quarter: {cost['all'] / cost['a quarter']:.2f} (1 is linear).")


if __name__ == "__main__":
    main()
