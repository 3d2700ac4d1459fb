"""Randomized rounds on a real server: users, operators, faults, and a judge that shares no code with the migration.

Usage: make chaos [ROUNDS=20] [SEED=1], or python -m knowledge_migration_tests.chaos [--rounds 20] [--seed 1] [--keep FOLDER].
The seeds are SEED, SEED + 1, …; --rounds 1 --seed S repeats the choices of one round. Exit code 1 if there is a complaint.
"""

import argparse
import secrets
import signal
import sys
from pathlib import Path

from knowledge_migration_tests.chaos.places import a_server
from knowledge_migration_tests.chaos.plans import plan_of
from knowledge_migration_tests.chaos.rounds import run_round


def main() -> int:
    """Runs the rounds; returns the exit code. An interrupt ends what it has started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="the seed of the first round; a random one if omitted")
    parser.add_argument("--steps", type=int, default=7, help="actions of operators in a round")
    parser.add_argument("--keep", type=Path, default=None, help="folder that keeps the logs and exports of each round")
    given = parser.parse_args()
    first = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    complaining: list[int] = []
    with a_server() as server:
        for seed in range(first, first + given.rounds):
            folder = given.keep / str(seed) if given.keep else None
            plan = plan_of(seed, length=given.steps)
            if run_round(server, plan, lambda line: print(line, flush=True), folder).complaints:
                complaining.append(seed)
    repeat = f"; repeat one with --rounds 1 --seed {complaining[0]} (all: {complaining})" if complaining else ""
    print(f"{given.rounds} rounds, {len(complaining)} with complaints{repeat}")
    return int(bool(complaining))


if __name__ == "__main__":
    sys.exit(main())
