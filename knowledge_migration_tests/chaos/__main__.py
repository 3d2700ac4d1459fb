"""Randomized rounds on a real server: users, operators, faults, and a judge that shares no code with the migration.

Usage: make chaos [ROUNDS=20] [SEED=1] [CAPTURE=1], or python -m knowledge_migration_tests.chaos [--rounds 20] [--capture] …
With --capture, sessions write by SQL while phases 2 and 3 run, roll back and run again: rounds of seconds on both versions.
The seeds are SEED, SEED + 1, …; --rounds 1 --seed S repeats the choices of one round. Exit code 1 if there is a complaint.
"""

import argparse
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from knowledge_migration_tests.chaos.captured import run_captured_round
from knowledge_migration_tests.chaos.places import a_server
from knowledge_migration_tests.chaos.plans import plan_of
from knowledge_migration_tests.chaos.records import Complaint
from knowledge_migration_tests.chaos.rounds import run_round
from knowledge_migration_tests.conftest import started

Rounds = Callable[[int], list[Complaint]]


def say(line: str) -> None:
    """Prints at once."""
    print(line, flush=True)


@contextmanager
def whole_rounds(given: argparse.Namespace) -> Iterator[Rounds]:
    """Rounds of everything, on one server."""
    with a_server() as server:

        def run(seed: int) -> list[Complaint]:
            folder = given.keep / str(seed) if given.keep else None
            return run_round(server, plan_of(seed, length=given.steps), say, folder).complaints

        yield run


@contextmanager
def captured_rounds(_: argparse.Namespace) -> Iterator[Rounds]:
    """Rounds with the capture, on a server of each version in turn."""
    with started(18) as newest, started(16) as oldest:
        yield lambda seed: run_captured_round(oldest if seed % 2 else newest, seed, say).complaints


def main() -> int:
    """Runs the rounds; returns the exit code. An interrupt ends what it has started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="the seed of the first round; a random one if omitted")
    parser.add_argument("--capture", action="store_true", help="rounds of the capture in the database")
    parser.add_argument("--steps", type=int, default=7, help="actions of operators in a round")
    parser.add_argument("--keep", type=Path, default=None, help="folder that keeps the logs and exports of each round")
    given = parser.parse_args()
    first = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    complaining: list[int] = []
    with (captured_rounds if given.capture else whole_rounds)(given) as run:
        for seed in range(first, first + given.rounds):
            if run(seed):
                complaining.append(seed)
    kind = "--capture " if given.capture else ""
    repeat = f"; repeat one with {kind}--rounds 1 --seed {complaining[0]} (all: {complaining})" if complaining else ""
    print(f"{given.rounds} rounds, {len(complaining)} with complaints{repeat}")
    return int(bool(complaining))


if __name__ == "__main__":
    sys.exit(main())
