"""Every phase, check, page, command and rollback on databases that grow tenfold: seconds, CPU time, peak memory, growth.

Usage: make bench-scale, or python -m knowledge_migration_tests.benchmarks.scale [--atoms 100000 1000000 10000000] [--folder F].
The server generates the rows. Each part runs in a process of its own, so its memory is its own. The growth is the exponent of the
CPU time between two sizes: 1 is linear, 2 is quadratic. Ten million atoms take about two hours and 40 GB.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from knowledge_migration.demo.loader import build_legacy_schema
from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.benchmarks.cpu import server_cpu_seconds
from knowledge_migration_tests.support.conditions import comes_true

SIZES = (100_000, 1_000_000, 10_000_000)
DATABASE = "bench_scale"
SAMPLE = 100_000
COUNTS_FROM_SECONDS = 1.0
console = Console(highlight=False, width=150)

ROWS = """
SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '512MB';
INSERT INTO users (first_name, is_active, is_bot) SELECT 'user ' || n, true, false FROM generate_series(1, 1000) AS n;
INSERT INTO sources (name, type, config, is_active) VALUES ('chat', 'telegram', '{}', true);
INSERT INTO messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT n, 'Problem: the build ' || n || ' fails when the disk is full. The fix is to check the free space.', now(), 1,
       1 + n % 1000, true
FROM generate_series(1, ATOMS / 4) AS n;
INSERT INTO topics (name, description, icon, color, created_at, updated_at)
SELECT md5(n::text) || ' ' || n, 'What is known about subject ' || n, 'FolderIcon', '#64748B', written, written
FROM generate_series(1, ATOMS / 50) AS n, LATERAL (SELECT now() - (1 + n % 500) * interval '1 day' AS written) AS of;
INSERT INTO atoms (type, title, content, confidence, user_approved, meta, created_at, updated_at)
SELECT (ARRAY['problem', 'solution', 'decision', 'question', 'insight', 'pattern', 'requirement'])[1 + n % 7],
       'Something that somebody found out, number ' || n, repeat('What was found out about ' || n || '. ', 8),
       CASE WHEN n % 3 > 0 THEN 0.7 + (n % 30) / 100.0 END, n % 4 = 0,
       json_build_object('source', 'llm_extraction', 'message_ids', json_build_array(1 + n % (ATOMS / 4))), written, written
FROM generate_series(1, ATOMS) AS n, LATERAL (SELECT now() - (1 + n % 500) * interval '1 day' AS written) AS of;
INSERT INTO topic_atoms (topic_id, atom_id, position) SELECT 1 + n % (ATOMS / 50), n, n % 9 FROM generate_series(1, ATOMS) AS n;
INSERT INTO atom_links (from_atom_id, to_atom_id, link_type, strength)
SELECT n * 5, n * 5 - 1, 'supports', 0.5 FROM generate_series(1, ATOMS / 5) AS n;
"""
JOBS = ("validation_integrity", "validation_values", "validation_quality", "validation_performance")
COMMANDS = {
    "status, first": ["status"],
    "status, second": ["status"],
    "criteria": ["criteria", "list"],
    "report": ["report", "--output", "report.html"],
    "doctor": ["doctor"],
    "backfill dry run": ["backfill", "dry-run"],
}
ROLLBACKS = {
    name: ["rollback", name, "--reason", "a benchmark", "--yes"]
    for name in ("instant", "dual-write", "backfill", "schema")
}
PAGES = ("/migration", "/review", "/api/v1/knowledge/proposals?limit=50", "/api/v1/knowledge/runs", "/metrics")


@dataclass(frozen=True)
class Part:
    """One measured part: wall seconds, CPU seconds of server and process, peak memory of the process in MB, exit code."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    code: int = 0


@dataclass
class Scale:
    """One size; it has state: the parts that are measured."""

    server: EmbeddedServer
    database: Database
    folder: Path
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The settings: no rate limit, capture in the database, a rehearsal on a sample; a busy machine fails no check."""
        return {
            **os.environ,
            "KNOWLEDGE_MIGRATION_DATABASE_URL": self.database.url,
            "KNOWLEDGE_MIGRATION_HOME": str(self.folder / "home"),
            "DUAL_WRITE_CAPTURE": "database",
            "KNOWLEDGE_MIGRATION_REHEARSAL_ROWS": str(SAMPLE),
            "DUAL_WRITE_MAX_SLOWDOWN_PERCENT": "1000",
            "READER_STALL_LIMIT_MS": "60000",
            "MIGRATION_RATE_LIMIT_PER_SECOND": "0",
        }

    def run(self, name: str, command: Sequence[str], *, accepted: Sequence[int] = (0,)) -> list[str]:
        """Measures one process and returns its lines; raises `RuntimeError` with its last lines where it fails."""
        before, started = server_cpu_seconds(self.server), time.perf_counter()
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            lines = output.read().splitlines()
        seconds = time.perf_counter() - started
        if process.returncode not in accepted:
            raise RuntimeError(f"{name} ended with {process.returncode}: {' '.join(lines[-20:])}")
        cpu = usage.ru_utime + usage.ru_stime + server_cpu_seconds(self.server) - before
        self._add(name, Part(seconds, cpu, usage.ru_maxrss / 1024, process.returncode))
        return lines

    def pages(self) -> None:
        """Starts the service and loads each page twice; its memory is that after all pages."""
        arguments = [sys.executable, "-m", "knowledge_migration.commands.main", "serve", "--port", "18431"]
        with subprocess.Popen(
            arguments, env=self.environment, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        ) as service:
            try:
                comes_true(lambda: _loaded("/health") is not None, seconds=120)
                for page in PAGES:
                    for which in ("first", "second"):
                        cpu = server_cpu_seconds(self.server)
                        seconds = _loaded(page)
                        if seconds is None:
                            raise RuntimeError(f"{page} did not load")
                        memory = psutil.Process(service.pid).memory_info().rss / 2**20
                        self._add(f"page {page}, {which}", Part(seconds, server_cpu_seconds(self.server) - cpu, memory))
            finally:
                service.terminate()

    def _add(self, name: str, part: Part) -> None:
        self.parts[name] = part
        console.print(
            f"  {name}: {part.seconds:,.1f} s, {part.cpu_seconds:,.1f} s of CPU, {part.megabytes:,.0f} MB"
            + (f", exit code {part.code}" if part.code else "")
        )


def _loaded(page: str) -> float | None:
    started = time.perf_counter()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:18431{page}", timeout=600) as response:
            response.read()
    except OSError:
        return None
    return time.perf_counter() - started


def main() -> None:
    """Prints a table; the row of a step of a phase is a part of that phase."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--atoms", type=int, nargs="+", default=list(SIZES))
    arguments.add_argument(
        "--folder", type=Path, default=None, help="where the server's data is kept (default: temporary)"
    )
    arguments.add_argument("--phase", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--job", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.phase or given.job:
        one_run(given.job)
        return
    measured = {atoms: measure(atoms, given.folder) for atoms in given.atoms}
    report(measured)


def measure(atoms: int, parent: Path | None) -> dict[str, Part]:
    """All parts on a new server with so many atoms."""
    with tempfile.TemporaryDirectory(prefix="kmscale_", dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = embedded_server.start(folder / "data", cleanup="delete")
        scale = Scale(server, server.ensure_database(DATABASE), folder)
        console.print(f"{atoms:,} atoms")
        try:
            generate(scale.database, atoms)
            all_parts(scale)
        except RuntimeError as error:
            console.print(f"[red]{error}[/]")
        finally:
            embedded_server.stop(folder / "data")
    return scale.parts


def generate(database: Database, atoms: int) -> None:
    """The legacy schema and the rows."""
    build_legacy_schema(database)
    with database.connect("bench") as connection:
        connection.execute(ROWS.replace("ATOMS", str(atoms)).encode())
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT pg_database_size(current_database()) AS bytes").fetchone()
    assert row
    console.print(f"  {row['bytes'] / 1e9:.2f} GB")


def all_parts(scale: Scale) -> None:
    """Phases 0 to 3, validations, commands, pages, rollbacks."""
    myself = "knowledge_migration_tests.benchmarks.scale"
    for phase in ("0 preparation", "1 schema", "2 dual write", "3 backfill"):
        lines = scale.run(f"phase {phase}", [myself, "--phase"])
        for step, seconds in json.loads(lines[-1]).items():
            if seconds >= COUNTS_FROM_SECONDS:
                scale.parts[f"phase {phase}: {step}"] = Part(seconds, math.nan, math.nan)
    for name, command in COMMANDS.items():
        scale.run(name, ["knowledge_migration.commands.main", *command], accepted=(0, 1))
    scale.pages()
    for job in JOBS:
        scale.run(job, [myself, "--job", job])
    for name, command in ROLLBACKS.items():
        scale.run(f"rollback {name}", ["knowledge_migration.commands.main", *command])


def one_run(job: str | None) -> None:
    """In a process of its own: the next phase, or a job; prints the seconds of its steps as JSON."""
    import dagster as dg

    from knowledge_migration.commands.phase_runs import Runs, migrate
    from knowledge_migration.commands.terminal import open_installation

    with dg.DagsterInstance.ephemeral() as instance:
        if job:
            runs = Runs(instance)
            runs.run(job)
            ids, errors = runs.run_ids, runs.errors
        else:
            summaries = migrate(open_installation().database, instance, on_phase=lambda _: None)
            summary = next(one for one in summaries if not one.skipped)
            ids, errors = list(summary.run_ids), list(summary.errors)
        if errors:
            raise SystemExit("; ".join(errors))
        steps: dict[str, float] = {}
        for step in (step for run in ids for step in instance.get_run_step_stats(run)):
            steps[step.step_key] = steps.get(step.step_key, 0.0) + (step.end_time or 0.0) - (step.start_time or 0.0)
    print(json.dumps(steps))


def report(measured: dict[int, dict[str, Part]]) -> None:
    """One row per part, with its figures of each size and its growth."""
    sizes = list(measured)
    names = list(dict.fromkeys(name for parts in measured.values() for name in parts))
    table = Table("part", *(f"{atoms:,} atoms: s, CPU s, MB" for atoms in sizes), "growth")
    for name in names:
        parts = [measured[atoms].get(name) for atoms in sizes]
        shown = (
            "" if one is None else f"{one.seconds:,.1f}, {one.cpu_seconds:,.1f}, {one.megabytes:,.0f}" for one in parts
        )
        table.add_row(name, *shown, ", ".join(growths(sizes, parts)))
    console.print(table)


def growths(sizes: Sequence[int], parts: Sequence[Part | None]) -> Iterator[str]:
    """The exponent of the CPU time from each size to the next, where the larger one takes a second; of the time for a step."""
    for (small, large), (before, after) in zip(pairwise(sizes), pairwise(parts), strict=True):
        if before is None or after is None or after.seconds < COUNTS_FROM_SECONDS:
            continue
        first, second = (one.seconds if math.isnan(one.cpu_seconds) else one.cpu_seconds for one in (before, after))
        if first > 0 and second > 0:
            yield f"{math.log(second / first) / math.log(large / small):.2f}"


if __name__ == "__main__":
    main()
