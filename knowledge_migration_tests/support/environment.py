"""The settings of a test, set as the variables of its process."""

from pathlib import Path

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.thresholds import GATES

UNHURRIED = {gate.metric: {"limit_seconds": 1000.0} for gate in GATES if gate.limit_seconds} | {
    "extraction_slowdown": {"threshold": 1e6, "breach": 1e6}
}
"""The gates of a test that says nothing about the speed of the machine."""


ANY_SPEED = {"DUAL_WRITE_MAX_SLOWDOWN_PERCENT": "1000000", "READER_STALL_LIMIT_MS": "60000"}
"""Limits that a busy machine does not reach."""


def name_database(patch: pytest.MonkeyPatch, database: Database, folder: Path, **variables: str) -> None:
    """The settings name this database, and a home directory below the folder, which becomes the working directory."""
    patch.chdir(folder)
    patch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", database.url)
    patch.setenv("KNOWLEDGE_MIGRATION_HOME", str(folder / "home"))
    patch.setenv("DUAL_WRITE_WATCH_SECONDS", "0.2")
    patch.setenv("MIGRATION_RATE_LIMIT_PER_SECOND", "0")  # the closed loop would follow the load of the machine
    for name, value in {**ANY_SPEED, **variables}.items():
        patch.setenv(name, value)
