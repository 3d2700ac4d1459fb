"""A step of phase 5 as a process of its own, for tests that kill it: it prints a line where it may stop and waits for one.

Usage: python -m knowledge_migration_tests.engine.cleanup.process URL retire|reopen|archive|drop
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from knowledge_migration.engine.cleanup import archive, completeness, indexes, retirement
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.cleanup.retiring import in_days, reopen, retire


class Process:
    """A running step that goes on as it is told."""

    def __init__(self, database: Database, work: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", __name__, database.url, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Where it stands; '' at its end."""
        assert self.child.stdout
        return self.child.stdout.readline().strip()

    def go_on(self) -> None:
        """Lets it go on to the next place."""
        assert self.child.stdin
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def reach(self, place: str) -> None:
        """Returns when it stands there."""
        while (line := self.line()) != place:
            assert line, self.child.stderr and self.child.stderr.read()
            self.go_on()

    def kill(self) -> None:
        """SIGKILL: it cannot clean up anything."""
        self.child.kill()
        self.child.communicate()


@contextmanager
def process(database: Database, work: str) -> Iterator[Process]:
    """Starts one; it does not outlive the block."""
    running = Process(database, work)
    try:
        yield running
    finally:
        if running.child.poll() is None:
            running.kill()


def tell(place: str) -> None:
    """Says where it stands and waits."""
    print(place, flush=True)
    sys.stdin.readline()


def stopping(module: Any, name: str, place: Callable[..., str]) -> None:
    """Lets a function of a module stop before it begins."""
    original = getattr(module, name)

    def stopped(*args: Any, **kwargs: Any) -> Any:
        tell(place(*args, **kwargs))
        return original(*args, **kwargs)

    setattr(module, name, stopped)


def main() -> None:
    """Does the work, stopping between its steps."""
    database, work = Database(sys.argv[1]), sys.argv[2]
    stopping(completeness, "run_locked", lambda *args: f"{args[3]} {args[2][0]}")
    stopping(retirement, "wait_until_fenced", lambda *args, **kwargs: "acknowledgement")
    stopping(retirement, "set_flags", lambda *args, **kwargs: "flags")
    if work == "retire":
        retire(database)
    elif work == "reopen":
        reopen(database)
    elif work == "drop":
        limits = SchemaChangeSettings(lock_timeout_ms=1_000, blocker_age_seconds=3_600)
        indexes.maintain_indexes(database, limits, drop=["idle"], reason="a test")
    else:
        archive.archive_extractions(
            database,
            reason="a test",
            now=in_days(31),
            older_than_days=30,
            batch_runs=2,
            on_batch=lambda done: tell(f"{done.runs} archived"),
        )


if __name__ == "__main__":
    main()
