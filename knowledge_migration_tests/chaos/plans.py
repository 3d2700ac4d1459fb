"""The plan of a round: a walk through the states of the migration, chosen by a seed; each step may meet a fault."""

import random
from dataclasses import dataclass

from knowledge_migration_tests.chaos.operators import WAYS, Way

FAULTS = (
    "kill the operator",
    "kill a service",
    "restart the server",
    "kill the server",
    "kill a session",
    "end all sessions",
    "pause and resume",
)

NEXT: dict[str, tuple[tuple[str, int], ...]] = {
    "legacy": (("phase 1", 1),),
    "schema": (("phase 2", 8), ("rollback schema", 2), ("rollback full", 1)),
    "dual write": (("phase 3", 8), ("rollback dual-write", 2), ("rollback full", 1)),
    "backfilled": (
        ("promote internal_beta", 6),
        ("rollback backfill", 2),
        ("rollback dual-write", 1),
        ("rollback full", 1),
        ("phase 3", 1),
    ),
    "internal_beta": (("promote gradual_rollout", 6), ("rollback instant", 3), ("rollback full", 1)),
    "gradual_rollout": (
        ("promote full_cutover", 5),
        ("rollback partial", 2),
        ("rollback instant", 2),
        ("rollback full", 1),
    ),
    "full_cutover": (("rollback partial", 3), ("rollback instant", 4), ("rollback full", 2)),
}
"""The actions of each state with their weights."""

AFTER = {
    "phase 1": "schema",
    "phase 2": "dual write",
    "phase 3": "backfilled",
    "rollback schema": "legacy",
    "rollback full": "legacy",
    "rollback dual-write": "schema",
    "rollback backfill": "dual write",
    "rollback instant": "backfilled",
    "rollback partial": "internal_beta",
    "promote internal_beta": "internal_beta",
    "promote gradual_rollout": "gradual_rollout",
    "promote full_cutover": "full_cutover",
}
"""The state after each action."""


@dataclass(frozen=True)
class Step:
    """One action, how it is done, the fault that it meets, and when."""

    action: str
    way: Way
    fault: str | None
    delay: float

    def __str__(self) -> str:
        return f"{self.action} by {self.way}{f', {self.fault} after {self.delay:.2f} s' if self.fault else ''}"


@dataclass(frozen=True)
class Plan:
    """The choices of a seed."""

    seed: int
    steps: tuple[Step, ...]
    services: int
    users: int


def plan_of(seed: int, *, length: int = 7) -> Plan:
    """The plan of a seed; the phases come first, so that a round reaches something that can be rolled back."""
    chosen = random.Random(f"plan {seed}")
    state, steps = "legacy", list[Step]()
    while len(steps) < length:
        actions = NEXT[state]
        forward = len(steps) < 3 and chosen.random() < 0.8
        action = actions[0][0] if forward else chosen.choices([name for name, _ in actions], [w for _, w in actions])[0]
        steps.append(_step(chosen, action))
        state = AFTER[action]
    return Plan(seed, tuple(steps), chosen.choice((1, 2, 2)), chosen.choice((2, 3, 4)))


def _step(chosen: random.Random, action: str) -> Step:
    way = chosen.choice(WAYS[action])
    fault = chosen.choice(FAULTS) if chosen.random() < 0.6 else None
    if fault == "pause and resume" and action != "phase 3":
        fault = "kill the operator"
    if fault == "kill the operator" and way == "api":
        fault = "kill a service"
    return Step(action, way, fault, chosen.uniform(0.0, 1.2))
