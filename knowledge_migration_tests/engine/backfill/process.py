"""A backfill as a process of its own, for tests that kill it: it prints a line after each batch and waits for one on stdin.

Usage: python -m knowledge_migration_tests.engine.backfill.process URL all|topics|atoms|complete [batch size]
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from knowledge_migration.engine.backfill import completion, plan, runner
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.engine.backfill.backfilling import backfill

WHOLE = {
    "topics": plan.Partition("topic", "000000000001", 0, 1_000),
    "atoms": plan.Partition("atom", "000000000001", 0, 1_000),
}


class Process:
    """A running backfill that does one batch after another as it is told."""

    def __init__(self, database: Database, work: str, batch_size: int) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", __name__, database.url, work, str(batch_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """What it says next: "paused ...", or the rows done after a batch; '' at its end."""
        assert self.child.stdout
        return self.child.stdout.readline().strip()

    def go_on(self) -> None:
        """Lets it go on to the next line."""
        assert self.child.stdin
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def batches(self, number: int) -> None:
        """Returns when it stands after so many more batches."""
        for turn in range(number):
            assert self.line(), self.child.stderr and self.child.stderr.read()
            if turn + 1 < number:
                self.go_on()

    def release(self) -> None:
        """Lets it go on without waiting for anybody any more."""
        assert self.child.stdin
        self.child.stdin.close()
        self.child.stdin = None

    def finish(self) -> tuple[int, str]:
        """Lets it run to its end; returns its exit code and what it said on stderr."""
        _, error = self.child.communicate()
        return self.child.returncode, error

    def kill(self) -> None:
        """SIGKILL: it cannot clean up anything."""
        self.child.kill()
        self.child.communicate()


@contextmanager
def process(database: Database, work: str = "all", batch_size: int = 10) -> Iterator[Process]:
    """Starts one; it does not outlive the block."""
    running = Process(database, work, batch_size)
    try:
        yield running
    finally:
        if running.child.poll() is None:
            running.kill()


def main() -> None:
    """Does the work, telling each batch and each wait."""
    database, work, size = Database(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    limits = BackfillSettings(batch_size=size, rate_limit_per_second=0, control_interval_seconds=0.05)

    def tell(what: object) -> None:
        print(what, flush=True)
        sys.stdin.readline()

    if work == "all":
        backfill(database, limits, on_progress=lambda now: tell(now.done_rows))
    elif work == "complete":
        completion.complete(database, limits, on_progress=lambda now: tell(now.done_rows), on_pace=tell)
    else:
        runner.backfill_partition(
            database, WHOLE[work], limits, on_progress=lambda now: tell(now.done_rows), on_pace=tell
        )


if __name__ == "__main__":
    main()
