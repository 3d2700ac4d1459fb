"""The cost of the capture in the database for the sessions of an application, against a database without it.

Usage: make bench, or python -m knowledge_migration_tests.benchmarks.capture [--data FOLDER] [--rounds 5] [--singles 300].
Each round makes copies of one database after phase 1, one with the capture, and writes the same rows to each, interleaved. A
third copy shows the least that is possible: an application that writes row, proposal and link by one statement, and no trigger.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from rich.console import Console
from rich.table import Table

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.schema import capture
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.benchmarks.backfill import COPIES_OF_DEMONSTRATION, fresh, prepare
from knowledge_migration_tests.conftest import SHARED_DATA

BULK_ROWS = 100_000
console = Console(highlight=False, width=140)

COLUMNS: dict[str, LiteralString] = {
    "topics": "name, description, icon, color",
    "atoms": "id, type, title, content, confidence, user_approved, meta",
    "topic_atoms": "topic_id, atom_id",
    "atom_links": "from_atom_id, to_atom_id, link_type",
}
EXISTING: LiteralString = (
    "(SELECT row_number() OVER () AS n, atoms.* FROM atoms, generate_series(1, (SELECT 1 + {rows} / count(*) FROM atoms)) "
    "WHERE atoms.id < 10000000 LIMIT {rows}) AS atom"
)
BULK: dict[str, LiteralString] = {
    "topics": "SELECT 'copied ' || n, left(content, 300), NULL, '#aabbcc' FROM {existing}",
    "atoms": "SELECT 10000000 + n, type, title, content, confidence, user_approved, meta FROM {existing}",
    "topic_atoms": "SELECT topics.ids[1 + n % cardinality(topics.ids)], 10000000 + n "
    "FROM (SELECT array_agg(id) AS ids FROM topics) AS topics, generate_series(1, {rows}) AS n",
    "atom_links": "SELECT 10000000 + n, 10000000 + greatest(n - 1, 1), 'relates' FROM generate_series(1, {rows}) AS n",
}
"""Rows as an application would copy them, made from the rows that exist."""

SINGLE: dict[str, LiteralString] = {
    "topics": "INSERT INTO topics (name, description) VALUES (gen_random_uuid()::text, 'A single insert')",
    "atoms": "INSERT INTO atoms (type, title, content, confidence, user_approved, meta) VALUES ('insight', 'A single insert', "
    "repeat('Its content. ', 30), 0.9, false, "
    "json_build_object('source', 'llm', 'message_ids', json_build_array(currval('topics_id_seq') / 4)))",
    "topic_atoms": "INSERT INTO topic_atoms (topic_id, atom_id) VALUES (currval('topics_id_seq'), currval('atoms_id_seq'))",
    "atom_links": "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) "
    "VALUES (currval('atoms_id_seq'), currval('atoms_id_seq') - 1, 'relates')",
}
"""One row each, as a session of an application writes them one after the other; four atoms are of one extraction."""

LEAST: dict[str, LiteralString] = {
    "topics": "WITH proposal AS (INSERT INTO topic_proposals (id, extraction_run_id, name, description, status, reviewed_at) "
    "VALUES (gen_random_uuid(), '{run}', gen_random_uuid()::text, 'A single insert', 'approved', now()) RETURNING *) "
    "INSERT INTO topics (name, description, migrated_from_proposal_id, migration_timestamp) "
    "SELECT name, description, id, now() FROM proposal",
    "atoms": "WITH proposal AS (INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, confidence, meta, "
    "status, reviewed_at) VALUES (gen_random_uuid(), '{run}', 'insight', 'A single insert', repeat('Its content. ', 30), 0.9, "
    "json_build_object('source', 'llm', 'message_ids', json_build_array(1)), 'approved', now()) RETURNING *) "
    "INSERT INTO atoms (type, title, content, confidence, user_approved, meta, migrated_from_proposal_id, migration_timestamp) "
    "SELECT type, title, content, confidence, false, meta::json, id, now() FROM proposal",
}
RUN = "00000000-0000-0000-0000-000000000001"
"""The run of these proposals; the rows of the run and of the log that the capture also writes are left out."""

Times = dict[str, dict[str, list[float]]]
"""Seconds by measurement and arm."""


def main() -> None:
    """Prints one line per measurement."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=SHARED_DATA / "large", help="folder of a real knowledge base")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--singles", type=int, default=300, help="single inserts into each table and round")
    arguments.add_argument("--version", type=int, default=18, help="major version of PostgreSQL")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmbench_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", version=given.version, cleanup="delete")
        rows = prepare(server, given.data, COPIES_OF_DEMONSTRATION)
        console.print(
            f"PostgreSQL {given.version}, {rows:,} atoms, {given.rounds} rounds, fsync on, synchronous_commit on"
        )
        ratios: dict[str, list[tuple[float, float, float]]] = {}
        for number in range(given.rounds):
            for name, arms in one_round(server, given.singles, random.Random(number)).items():
                without, captured = typical(arms["without"]), typical(arms["with"])
                ratios.setdefault(name, []).append((without, captured, captured / without))
        report(ratios)


def one_round(server: EmbeddedServer, singles: int, order: random.Random) -> Times:
    """Single inserts, then a COPY per table, in both databases."""
    times: Times = {}
    with ExitStack() as stack:
        databases = {arm: stack.enter_context(fresh(server)) for arm in ("without", "with", "least")}
        with databases["with"].connect("bench") as connection:
            capture.install(connection, SchemaChangeSettings())
        with databases["least"].connect("bench") as connection:
            connection.execute(
                "INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, settings) "
                "VALUES (%s, 'completed', '[]', 0, '{}')", (RUN,)
            )  # fmt: skip
        sessions = {arm: stack.enter_context(application(database)) for arm, database in databases.items()}
        for _ in range(singles):
            for table, statement in SINGLE.items():
                for arm in order.sample(list(sessions), 3):
                    if arm == "least" and table not in LEAST:
                        continue
                    single(
                        sessions[arm],
                        table,
                        statement if arm != "least" else LEAST[table].replace("{run}", RUN),
                        times,
                        arm,
                    )
        for name in [name for name, arms in times.items() if "least" in arms]:
            times[f"{name}, at least"] = {"without": times[name]["without"], "with": times[name].pop("least")}
        del sessions["least"]
        for table, columns in COLUMNS.items():
            rows = copied(databases["without"], table)
            for arm in order.sample(list(sessions), 2):
                with server.admin.connect("bench") as connection:
                    connection.execute("CHECKPOINT")
                name = f"COPY of {BULK_ROWS:,} rows to {table}"
                started = time.perf_counter()
                with sessions[arm].cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                    copy.write(rows)
                record(times, name, arm, time.perf_counter() - started)
    return times


@contextmanager
def application(database: Database) -> Iterator[psycopg.Connection]:
    """A session that knows nothing of the migration, and prepares its statements as asyncpg does."""
    with psycopg.connect(database.conninfo, autocommit=True, prepare_threshold=0) as connection:
        for statement in SINGLE.values():
            connection.execute(statement)
        yield connection


def single(session: psycopg.Connection, table: str, statement: str, times: Times, arm: str) -> None:
    """One row in a transaction of its own."""
    moments = []
    for command in ("BEGIN", statement, "COMMIT"):
        moments.append(time.perf_counter())
        session.execute(command.encode())
    record(times, f"INSERT of one row into {table}, with its transaction", arm, time.perf_counter() - moments[0])
    record(times, f"INSERT of one row into {table}, the statement alone", arm, moments[2] - moments[1])


def record(times: Times, name: str, arm: str, seconds: float) -> None:
    """Adds a measurement."""
    times.setdefault(name, {}).setdefault(arm, []).append(seconds)


def typical(seconds: list[float]) -> float:
    """The mean without the slowest twentieth: the first atom of an extraction counts, a pause of the machine does not."""
    return statistics.fmean(sorted(seconds)[: max(1, len(seconds) * 19 // 20)])


def copied(database: Database, table: str) -> bytes:
    """The rows for one COPY, in its text format."""
    query = BULK[table].replace("{existing}", EXISTING).replace("{rows}", str(BULK_ROWS))
    with (
        database.connect("bench") as connection,
        connection.cursor().copy(f"COPY ({query}) TO STDOUT".encode()) as copy,
    ):
        return b"".join(copy)


def report(ratios: dict[str, list[tuple[float, float, float]]]) -> None:
    """The medians of the rounds, and the median and the range of their ratios."""
    table = Table("measurement", "without ms", "with ms", "ratio (median of rounds)", "ratios")
    for name, rounds in sorted(ratios.items()):
        without, captured, ratio = (statistics.median(values) for values in zip(*rounds, strict=True))
        spread = f"{min(one[2] for one in rounds):.2f} to {max(one[2] for one in rounds):.2f}"
        table.add_row(name, f"{1000 * without:.2f}", f"{1000 * captured:.2f}", f"{ratio:.2f}", spread)
    console.print(table)


if __name__ == "__main__":
    main()
