"""A running backfill keeps to its limits, and to what the operator sets meanwhile, within one look. The clock is ours."""

from collections.abc import Callable, Iterator

import pytest

from knowledge_migration.engine.backfill.control import Control, Throttle, read_control, set_control
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.runner import Progress, backfill_partition
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.engine.backfill.backfilling import fill

TOPICS = Partition("topic", "000000000001", 0, 100)


class Clock:
    """A clock that moves when somebody sleeps; `then` is called at given moments."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        self.then: dict[float, Callable[[], object]] = {}

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        for moment in [moment for moment in self.then if moment <= self.now - 1_000.0]:
            self.then.pop(moment)()

    def limits(self, *, rate: float = 10.0, batch_size: int = 10) -> BackfillSettings:
        """BackfillSettings by this clock."""
        return BackfillSettings(
            batch_size=batch_size, rate_limit_per_second=rate, clock=lambda: self.now, sleep=self.sleep
        )


@pytest.fixture
def operator(expanded: Database) -> Iterator[Connection]:
    """A session of the operator on a database with sixty topics."""
    fill(expanded)
    with expanded.connect("operator") as connection:
        yield connection


def batches(connection: Connection) -> list[int]:
    """Rows of each batch, in order."""
    return [
        row["linked_rows"] for row in connection.execute("SELECT linked_rows FROM migration.backfill_batch ORDER BY id")
    ]


def starts(connection: Connection, limits: BackfillSettings, clock: Clock, number: int) -> list[float]:
    """When each of so many batches, which take no time, may begin."""
    throttle, moments = Throttle(limits), []
    for _ in range(number):
        throttle.wait(connection)
        moments.append(round(clock.now - 1_000.0, 6))
    return moments


def test_batches_begin_at_the_rate_and_never_faster(operator: Connection) -> None:
    clock = Clock()
    assert starts(operator, clock.limits(rate=4), clock, 5) == [0, 0.25, 0.5, 0.75, 1.0]


def test_time_that_a_batch_took_counts_and_time_lost_is_not_made_up(operator: Connection) -> None:
    clock = Clock()
    throttle = Throttle(clock.limits(rate=4))
    moments = []
    for took in (0.1, 0.2, 3.0, 0.0, 0.0):
        throttle.wait(operator)
        moments.append(round(clock.now - 1_000.0, 6))
        clock.now += took
    assert moments == [0, 0.25, 0.5, 3.5, 3.75]


def test_without_a_limit_it_never_sleeps(operator: Connection) -> None:
    clock = Clock()
    assert starts(operator, clock.limits(rate=0), clock, 3) == [0, 0, 0]
    assert clock.slept == []


def test_a_pause_is_obeyed_while_it_waits_for_its_turn(operator: Connection) -> None:
    clock = Clock()
    clock.then = {
        2.0: lambda: set_control(operator, paused=True),
        30.0: lambda: set_control(operator, paused=False),
    }
    assert starts(operator, clock.limits(rate=0.1), clock, 2) == [0, 30.0]


def test_a_quicker_rate_is_obeyed_while_it_waits_for_its_turn(operator: Connection) -> None:
    clock = Clock()
    clock.then = {3.0: lambda: set_control(operator, rate_limit_per_second=100)}
    assert starts(operator, clock.limits(rate=0.01), clock, 3) == [0, 3.0, 3.01]


def test_a_rate_of_zero_set_by_the_operator_means_no_limit(operator: Connection) -> None:
    clock = Clock()
    set_control(operator, rate_limit_per_second=0)
    assert starts(operator, clock.limits(rate=1), clock, 3) == [0, 0, 0]


def test_nothing_is_migrated_while_paused_and_the_first_batch_afterwards_has_the_size_set(
    expanded: Database, operator: Connection
) -> None:
    clock = Clock()
    seen: list[int] = []
    set_control(operator, paused=True, batch_size=7)
    clock.then = {
        1.0: lambda: seen.append(len(batches(operator))),
        5.0: lambda: set_control(operator, paused=False),
    }
    waits: list[str] = []
    result = backfill_partition(expanded, TOPICS, clock.limits(batch_size=50, rate=0), on_pace=waits.append)
    assert (seen, waits) == ([0], ["paused by the operator"] * 5)
    assert (result.linked_rows, batches(operator)) == (60, [7] * 8 + [4])


def test_a_smaller_size_holds_from_the_next_look_and_a_larger_one_is_grown_into(
    expanded: Database, operator: Connection
) -> None:
    clock = Clock()
    clock.then = {
        1.0: lambda: set_control(operator, batch_size=2),
        4.0: lambda: set_control(operator, batch_size=40),
    }
    backfill_partition(expanded, TOPICS, clock.limits(rate=1))
    assert batches(operator) == [10, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_slow_batch_is_followed_by_smaller_ones_and_quick_ones_let_it_grow_again(
    expanded: Database, operator: Connection
) -> None:
    took = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    limits = BackfillSettings(batch_size=16, rate_limit_per_second=0, clock=lambda: sum(took[: len(batches(operator))]))
    result = backfill_partition(expanded, TOPICS, limits)
    assert batches(operator) == [16, 16, 8, 10, 10]
    assert result.slowest_batch_seconds == 1.0


def test_progress_counts_up_to_what_there_was_with_speed_and_time_left(
    expanded: Database, operator: Connection
) -> None:
    clock = Clock()
    told: list[Progress] = []
    backfill_partition(expanded, TOPICS, clock.limits(rate=2), on_progress=told.append)
    assert [now.done_rows for now in told] == [10, 20, 30, 40, 50, 60, 60]
    assert {now.total_rows for now in told} == {60}
    assert [now.rows_per_second for now in told][:3] == [0.0, 40.0, 30.0]
    assert [now.eta_seconds for now in told][:3] == [None, 1.0, 1.0]
    assert told[-1].eta_seconds == 0.0


def test_a_second_run_has_only_what_is_left_to_do(expanded: Database, operator: Connection) -> None:
    backfill_partition(expanded, Partition("topic", "first half", 0, 30), Clock().limits())
    told: list[Progress] = []
    backfill_partition(expanded, TOPICS, Clock().limits(rate=0), on_progress=told.append)
    assert {now.total_rows for now in told} == {30}


def test_a_field_that_is_not_named_stays_and_each_change_is_audited(operator: Connection) -> None:
    set_control(operator, batch_size=500, actor="ada")
    assert set_control(operator, paused=True, actor="ben") == read_control(operator) == Control(True, 500, None)
    rows = operator.execute("SELECT actor, before, after FROM migration.audit_log ORDER BY id").fetchall()
    assert [row["actor"] for row in rows] == ["ada", "ben"]
    assert rows[1]["before"] == {"paused": False, "batch_size": 500, "rate_limit_per_second": None}
    assert rows[1]["after"] == {"paused": True, "batch_size": 500, "rate_limit_per_second": None}
