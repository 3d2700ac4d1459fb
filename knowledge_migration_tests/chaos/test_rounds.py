"""Three rounds of `make chaos` with fixed seeds; their plans are the same in every run."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.chaos.places import a_server
from knowledge_migration_tests.chaos.plans import AFTER, FAULTS, NEXT, plan_of
from knowledge_migration_tests.chaos.rounds import run_round

SEEDS = (54, 121, 132)


@pytest.fixture(scope="module")
def place() -> Iterator[EmbeddedServer]:
    """A server that rounds may crash."""
    with a_server() as server:
        yield server


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_round_ends_without_a_complaint(place: EmbeddedServer, seed: int) -> None:
    outcome = run_round(place, plan_of(seed, length=4), print)
    assert [str(one) for one in outcome.complaints] == []
    assert outcome.checked["rows"] > 300


def test_a_seed_is_a_plan_and_every_plan_is_possible() -> None:
    assert plan_of(7) == plan_of(7)
    assert len({plan_of(seed).steps for seed in range(50)}) == 50
    for seed in range(200):
        state = "legacy"
        for step in plan_of(seed).steps:
            assert step.action in {name for name, _ in NEXT[state]}
            state = AFTER[step.action]


def test_two_hundred_seeds_meet_every_action_and_every_fault() -> None:
    steps = [step for seed in range(200) for step in plan_of(seed).steps]
    assert {step.action for step in steps} == set(AFTER)
    assert {step.fault for step in steps} == {*FAULTS, None}
