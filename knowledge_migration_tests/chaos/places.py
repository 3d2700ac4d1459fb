"""Where rounds happen: an embedded server that may crash, a small prepared database, and its services as real processes."""

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from knowledge_migration.demo.live_application import free_port, start_process, wait_until_healthy
from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration_tests.chaos import records
from knowledge_migration_tests.conftest import clone, drop
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.environment import ANY_SPEED
from knowledge_migration_tests.support.server_restart import restart
from knowledge_migration_tests.support.some_rows import ODD_ROWS

TEMPLATE = "chaos_template"
OPERATOR = "chaos_operator"
RECOVERY_SECONDS = 60.0

HELD = """
UPDATE atoms SET confidence = 1.5 WHERE id IN (11, 120, 233);
INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) SELECT n, n + 1, 'supports' FROM generate_series(1, 20) AS n;
"""
HELD_ATOMS = (11, 120, 233)
"""Atoms that cannot become a proposal as they are."""

SETTINGS: Mapping[str, str] = {
    **ANY_SPEED,
    "KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON": "a chaos round is one",
    "KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS": "[1, 2, 3, 4, 5]",
    "MIGRATION_BATCH_SIZE": "10",
    "MIGRATION_RATE_LIMIT_PER_SECOND": "40",
    "MIGRATION_PARTITION_ROWS": "150",
    "BASELINE_SAMPLES": "20",
    "PERFORMANCE_SAMPLES": "20",
    "DUAL_WRITE_MEASURED_PAIRS": "10",
    "DUAL_WRITE_WATCH_SECONDS": "1",
    "CUTOVER_BAKE_MINUTES": '{"internal_beta": 0.01, "gradual_rollout": 0.01, "full_cutover": 0.01}',
    "CUTOVER_GATES": '{"slow_proposal_lists": {"minimum_sample": 3}, "slow_run_histories": {"minimum_sample": 3}, '
    '"slow_similarity_lists": {"minimum_sample": 3}}',
}
"""Small batches that a kill can interrupt, short measurements, and no promise about the speed of the machine."""

# What nobody waits for reaches the disk ten seconds later, so a crash takes it.
LAZY_WAL = (
    "ALTER SYSTEM SET wal_writer_delay = '10s'",
    "ALTER SYSTEM SET wal_writer_flush_after = '1GB'",
    "SELECT pg_reload_conf()",
)


@contextmanager
def a_server() -> Iterator[EmbeddedServer]:
    """A server of its own with the prepared template: phase 0 is done there."""
    with tempfile.TemporaryDirectory(prefix="kmchaos_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        template = server.ensure_database(TEMPLATE)
        with template.connect("chaos template") as connection:
            for statement in (*LAZY_WAL, f"CREATE ROLE {OPERATOR} SUPERUSER LOGIN"):
                connection.execute(statement)
            for text in (text_of("legacy/schema"), PEOPLE_AND_MESSAGES, ODD_ROWS, HELD):
                connection.execute(text)
        with settings_of(template, Path(folder) / "template"):
            _prepare()
        yield server


def _prepare() -> None:
    """Phase 0, as Dagster runs it."""
    import dagster as dg

    from knowledge_migration.commands.phase_runs import Runs
    from knowledge_migration_tests.support.code_location import definitions

    with dg.DagsterInstance.ephemeral() as instance:
        runs = Runs(instance, definitions())
        if not runs.run("phase_0_preparation"):
            raise RuntimeError("; ".join(runs.errors))


@contextmanager
def settings_of(database: Database, home: Path) -> Iterator[None]:
    """The environment names this database, as the role of the operators, while the block runs."""
    url = make_url(database.url).set(username=OPERATOR).render_as_string(hide_password=False)
    changes = {**SETTINGS, "KNOWLEDGE_MIGRATION_DATABASE_URL": url, "KNOWLEDGE_MIGRATION_HOME": str(home)}
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def a_database(server: EmbeddedServer) -> Iterator[Database]:
    """A copy of the template for one round."""
    database = clone(server, TEMPLATE)
    try:
        yield database
    finally:
        with suppress(Exception):
            drop(server, database)


@dataclass
class Service:
    """One process of the service, which may be killed and started again at the same address."""

    port: int
    folder: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The output of the present process."""
        return self.folder / f"service_{self.port}_{self.starts}.log"

    def start(self) -> None:
        """Starts it; `wait` returns when it answers."""
        self.starts += 1
        self.process = start_process(["serve", "--port", str(self.port)], self.log, self.environment)

    def wait(self) -> None:
        """Returns when it is healthy; raises what it logged otherwise."""
        process = self.process
        assert process
        if not wait_until_healthy(self.url, is_alive=lambda: process.poll() is None):
            raise RuntimeError(f"the service did not start: {self.log.read_text()[-2000:]}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends it at once."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
        if self.process:
            self.process.wait(60)


@contextmanager
def services(database: Database, folder: Path, number: int) -> Iterator[list[Service]]:
    """Several processes of the service on a database, which end with the block."""
    environment = {**os.environ, "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url}
    running = [Service(free_port(), folder, environment) for _ in range(number)]
    try:
        for one in running:
            one.start()
        for one in running:
            one.wait()
        yield running
    finally:
        for one in running:
            one.kill()


@dataclass
class Faults:
    """What happens to a round: it keeps the periods in which requests may fail."""

    server: EmbeddedServer
    database: Database
    services: list[Service]
    random: random.Random
    periods: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def period(self) -> Iterator[None]:
        """Requests may fail while the block runs, and a little longer."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.periods.append((started - 0.5, time.monotonic() + 10.0))

    def covers(self, at: float) -> bool:
        """Whether a request may have failed at that time."""
        return any(begin <= at <= end for begin, end in self.periods)

    def kill_service(self) -> None:
        """SIGKILL, then a new process at the same address."""
        with self.period(), self.lock:
            service = self.random.choice(self.services)
            service.kill()
            service.start()
            service.wait()

    def restart_server(self) -> None:
        """An immediate restart of the server: every session ends, nothing is flushed."""
        with self.period(), self.lock:
            restart(self.server, mode="immediate")
            self.recovered()

    def kill_server(self) -> None:
        """SIGKILL of the server's first process, then a start."""
        with self.period(), self.lock:
            first = int((self.server.data_directory / "postmaster.pid").read_text().split()[0])
            os.kill(first, signal.SIGKILL)
            until = time.monotonic() + RECOVERY_SECONDS
            while True:  # its children have to notice first
                try:
                    restart(self.server, mode="immediate")
                    break
                except subprocess.CalledProcessError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.2)
            self.recovered()

    def kill_backend(self) -> None:
        """SIGKILL of one session's process: the server ends all others and recovers."""
        with self.period(), self.lock, suppress(psycopg.Error):
            with records.connect(self.database.conninfo) as connection:
                query = (
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND backend_type = 'client backend' ORDER BY backend_start"
                )
                pids = [one["pid"] for one in connection.execute(query)]
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(pids), signal.SIGKILL)
            time.sleep(0.3)
            self.recovered()

    def end_sessions(self) -> None:
        """Every session ends, as an operator or a failover ends them; the server goes on at once."""
        with self.period(), self.lock, records.connect(self.database.conninfo) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def recovered(self) -> None:
        """Returns when the server accepts sessions again."""
        records.reconnect(self.database.conninfo, RECOVERY_SECONDS).close()

    def operator_session(self, seconds: float, process: "subprocess.Popen[str]") -> None:
        """Returns when an operator has a session, the process has ended, or the time is over."""
        until = time.monotonic() + seconds
        query = "SELECT count(*) AS sessions FROM pg_stat_activity WHERE usename = %s"
        with suppress(psycopg.Error), records.connect(self.database.conninfo) as connection:
            while time.monotonic() < until and process.poll() is None:
                row = connection.execute(query, (OPERATOR,)).fetchone()
                if row and row["sessions"]:
                    return
                time.sleep(0.02)
