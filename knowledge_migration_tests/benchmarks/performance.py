"""List queries with a million proposals: p50, p95 and p99 against their limits (strategy §9.3).

Usage: make bench, or python -m knowledge_migration_tests.benchmarks.performance [--samples 100] [--plans]
"""

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.validation.performance.limits import PerformanceValidation, validate
from knowledge_migration.settings import PerformanceSettings
from knowledge_migration.thresholds import GATES
from knowledge_migration_tests.benchmarks.million import million_proposals

console = Console(highlight=False, width=140)


def main() -> None:
    """Prints a table; with --plans also the plan of each statement."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--samples", type=int, default=100)
    arguments.add_argument("--plans", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmbench_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        began = time.perf_counter()
        database = million_proposals(server.ensure_database("million").url)
        console.print(f"a million proposals created in {time.perf_counter() - began:.0f} s")
        large_rows = PerformanceSettings().large_table_rows
        report(validate(database, GATES, samples=given.samples, large_rows=large_rows), plans=given.plans)


def report(measured: PerformanceValidation, *, plans: bool) -> None:
    """Prints one line per query."""
    table = Table("query", "p50 ms", "p95 ms", "p99 ms", "limit ms", "within", "sequential scans")
    for verdict in measured.verdicts:
        times = (f"{value:.1f}" for value in (verdict.p50_ms, verdict.p95_ms, verdict.p99_ms, verdict.limit_ms))
        table.add_row(verdict.query, *times, "yes" if verdict.within else "NO", ", ".join(verdict.scanned))
    console.print(f"{measured.proposals:,} proposals")
    console.print(table)
    for verdict in measured.verdicts if plans else ():
        console.print(verdict.query, *(plan.as_text for plan in verdict.plans), sep="\n", markup=False)


if __name__ == "__main__":
    main()
