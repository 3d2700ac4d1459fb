"""The verification of all values, against reladiff (join algorithm) over the same linked rows and columns, interleaved.

Usage: make bench, or python -m knowledge_migration_tests.benchmarks.verification [--rounds 5]. The database has a million
proposals: 176,000 topics and 704,000 atoms are linked with theirs. Beside the time it prints the CPU time of server and process.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

from psycopg import sql
from rich.console import Console
from rich.table import Table

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.validation.value_verification import verify
from knowledge_migration_tests.benchmarks.cpu import server_cpu_seconds
from knowledge_migration_tests.benchmarks.million import million_proposals

COMPARED = {
    "topics": ("topic_proposals", ("name", "description", "icon", "color")),
    "atoms": ("atom_proposals", ("type", "title", "content", "confidence")),
}
VIEWS: tuple[LiteralString, ...] = (
    "CREATE VIEW {linked} AS SELECT migrated_from_proposal_id AS proposal, {columns} FROM {table} "
    "WHERE migrated_from_proposal_id IS NOT NULL",
    "CREATE VIEW {approved} AS SELECT id AS proposal, {columns} FROM {proposals} WHERE entity_id IS NOT NULL",
)
LINKED = 880_000
console = Console(highlight=False, width=120)


def main() -> None:
    """Prints the medians and the median of the ratios round by round."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmbench_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        database = million_proposals(server.ensure_database("million").url)
        prepare(database)
        arms = {"verification of all values": lambda: ours(database), "reladiff, join": lambda: theirs(database)}
        report({name: [] for name in arms}, arms, server, given.rounds)


def prepare(database: Database) -> None:
    """What reladiff needs: views of the linked rows, with one name for the key of both sides."""
    with database.connect("bench") as connection:
        for table, (proposals, columns) in COMPARED.items():
            parts = {
                "linked": sql.Identifier(f"linked_{table}"),
                "approved": sql.Identifier(f"approved_{table}"),
                "table": sql.Identifier(table),
                "proposals": sql.Identifier(proposals),
                "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
            }
            for view in VIEWS:
                connection.execute(sql.SQL(view).format(**parts))


def ours(database: Database) -> int:
    """The rows compared by a pass over everything; nothing differs."""
    done = verify(database, whole=True, whole_every_days=7, settle_seconds=0)
    assert done.passed
    compared = sum(one.compared for one in done.tables)
    assert compared == LINKED, f"{compared:,} rows were compared, not {LINKED:,}"
    return compared


def theirs(database: Database) -> int:
    """The differences that reladiff finds: none."""
    import reladiff

    for table, (_, columns) in COMPARED.items():
        sides = [
            reladiff.connect_to_table(
                {"driver": "postgresql", **address(database)}, name, "proposal", extra_columns=columns
            )
            for name in (f"linked_{table}", f"approved_{table}")
        ]
        found = list(
            reladiff.diff_tables(
                *sides,
                extra_columns=columns,
                algorithm=reladiff.Algorithm.JOINDIFF,
                validate_unique_key=False,
                threaded=False,
            )
        )
        assert found == [], found[:3]
    return 0


def address(database: Database) -> dict[str, object]:
    """Where the server is, in the words of reladiff."""
    with database.connect("bench") as connection:
        info = connection.info
        return {
            "host": info.host,
            "port": info.port,
            "dbname": info.dbname,
            "user": info.user,
            "password": info.password,
        }


def report(
    seconds: dict[str, list[float]], arms: dict[str, Callable[[], int]], server: EmbeddedServer, rounds: int
) -> None:
    """Runs the arms in turn and prints the table."""
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name, arm in list(arms.items())[:: 1 if number % 2 else -1]:
            before, started = server_cpu_seconds(server) + time.process_time(), time.perf_counter()
            arm()
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(server_cpu_seconds(server) + time.process_time() - before)
    first = next(iter(arms))
    table = Table("arm", "seconds (median)", "CPU seconds (median)", "ratio to ours", "by CPU time")
    for name in arms:
        ratios = (
            statistics.median(one / base for one, base in zip(measured[name], measured[first], strict=True))
            for measured in (seconds, cpu)
        )
        table.add_row(
            name,
            f"{statistics.median(seconds[name]):.1f}",
            f"{statistics.median(cpu[name]):.1f}",
            *(f"{ratio:.2f}" for ratio in ratios),
        )
    console.print(table)


if __name__ == "__main__":
    main()
