"""A served installation: `knowledge-migration serve` as a process, on the database of a test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from knowledge_migration.demo.live_application import free_port, wait_until_healthy
from knowledge_migration.engine.foundation.database import Database

REVIEWER_TOKEN = "reviewer-token-of-the-tests"
ADMIN_TOKEN = "admin-token-of-the-tests"
MINUTES = 5
"""For busy machines."""
TOKENS = {
    "KNOWLEDGE_API_REVIEWER_TOKEN": REVIEWER_TOKEN,
    "KNOWLEDGE_API_ADMIN_TOKEN": ADMIN_TOKEN,
    "KNOWLEDGE_MIGRATION_DAGSTER_UI_URL": "https://dagster.example/",
}


@dataclass
class Living:
    """One process; it can be stopped and started again at the same address."""

    database: Database
    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the process and waits until it is healthy."""
        log = self.home / "serve.log"
        settings = {
            "KNOWLEDGE_MIGRATION_DATABASE_URL": self.database.url,
            "KNOWLEDGE_MIGRATION_HOME": str(self.home),
            "KNOWLEDGE_REVIEW_QUEUE_LIMIT": "1000000",
        }
        command = [sys.executable, "-m", "knowledge_migration.commands.main", "serve", "--port", str(self.port)]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, env={**os.environ, **settings, **self.environment}, cwd=self.home
            )
        is_healthy = (wait_until_healthy(self.url, self._is_alive) for _ in range(MINUTES))
        assert any(is_healthy), log.read_text()

    def _is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def begin_test(self) -> None:
        """Runs with the tokens of the tests, whatever the test before has done."""
        changed = self.environment != TOKENS
        if changed:
            self.stop()
            self.environment = dict(TOKENS)
        if self.process is None:
            self.start()

    def stop(self) -> None:
        """Kills the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


@contextmanager
def living(database: Database, home: Path, **environment: str) -> Iterator[Living]:
    """Runs the service during the block."""
    served = Living(database, home, environment)
    try:
        served.start()
        yield served
    finally:
        served.stop()
