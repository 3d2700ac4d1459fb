"""The plan cuts every id into exactly one partition, gives the same keys each time, and never moves its bound."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_migration.engine.backfill import plan, runner
from knowledge_migration.engine.backfill.plan import EntityPlan, make_plan, partition_width, partitions_of
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, broken_rules, count

IDS = st.integers(min_value=-(10**6), max_value=10**12)


@pytest.fixture
def session(expanded: Database) -> Iterator[Connection]:
    """A session on an empty database after phase 1."""
    with expanded.connect("test") as connection:
        yield connection


def topics(connection: Connection, *ids: int) -> None:
    """Topics with these ids."""
    connection.cursor().executemany(
        "INSERT INTO topics (id, name, description) VALUES (%s, %s, '')",
        [(number, f"topic {number}") for number in ids],
    )


def planned(connection: Connection, width_ids: int = 100, max_partitions: int = 200) -> EntityPlan:
    """The plan of topics."""
    return make_plan(connection, width_ids=width_ids, max_partitions=max_partitions)["topic"]


def ranges(plan: EntityPlan) -> list[tuple[int, int]]:
    """The ends of its partitions."""
    return [(part.after_id, part.through_id) for part in plan.partitions]


@given(st.lists(IDS, min_size=1, max_size=30), st.integers(1, 5_000), st.integers(1, 50))
def test_partitions_cover_every_id_exactly_once(ids: list[int], width_ids: int, max_partitions: int) -> None:
    first, last = min(ids), max(ids)
    width = partition_width(first, last, width_ids=width_ids, max_partitions=max_partitions)
    parts = partitions_of("topic", first, last, width)
    assert 1 <= len(parts) <= max_partitions
    assert len({part.key for part in parts}) == len(parts)
    assert parts[-1].through_id == last
    assert all(before.through_id == after.after_id for before, after in itertools.pairwise(parts))
    assert all(sum(part.after_id < number <= part.through_id for part in parts) == 1 for number in ids)


@given(IDS.filter(lambda number: number > 0), st.integers(0, 10**6), st.integers(1, 5_000))
def test_an_id_keeps_its_partition_key_while_the_table_grows(first: int, growth: int, width: int) -> None:
    small, grown = (
        partitions_of("topic", first, last, width) if last - first <= 50 * width else ()
        for last in (first, first + growth)
    )
    if grown:
        assert [part.key for part in grown][: len(small)] == [part.key for part in small]


def test_an_empty_table_has_no_partitions_and_nothing_to_do(session: Connection) -> None:
    plan = planned(session)
    assert (plan.partitions, plan.rows, plan.linked, plan.upper_id) == ((), 0, 0, 0)


def test_rows_with_ids_below_one_only_are_in_a_partition(expanded: Database, session: Connection) -> None:
    topics(session, -7, -1, 0)
    plan = planned(session)
    assert ranges(plan) == [(-8, 0)]
    assert plan.rows == 3
    assert runner.backfill_partition(expanded, plan.partitions[0], QUICK).linked_rows == 3


def test_ids_below_one_belong_to_the_first_partition(session: Connection) -> None:
    topics(session, -5, 0, 1, 150)
    assert ranges(planned(session)) == [(-6, 100), (100, 150)]


def test_sparse_ids_make_few_partitions(session: Connection) -> None:
    topics(session, 3, 10**9, 10**12)
    plan = planned(session, width_ids=100, max_partitions=20)
    assert len(plan.partitions) <= 20
    assert plan.width_ids % 100 == 0
    assert (plan.rows, plan.upper_id) == (3, 10**12)


def test_the_width_grows_rather_than_the_number_of_partitions(session: Connection) -> None:
    topics(session, 1, 1_001)
    assert [planned(session, 100, most).width_ids for most in (200, 11, 10, 5, 1)] == [100, 100, 200, 300, 1_100]


def test_planning_again_gives_the_same_keys_and_counts_what_is_done(expanded: Database, session: Connection) -> None:
    topics(session, 1, 99, 100, 101, 350)
    first = planned(session)
    runner.backfill_partition(expanded, first.partitions[0], QUICK)
    again = planned(session)
    assert again.partitions == first.partitions
    assert [part.key for part in first.partitions][:2] == ["000000000001-000000000100", "000000000101-000000000200"]
    assert (first.linked, again.linked, again.rows) == (0, 3, 5)


def test_the_bound_is_that_of_the_plan_whatever_is_written_afterwards(expanded: Database, session: Connection) -> None:
    topics(session, 1, 40)
    plan = planned(session)
    topics(session, 41, 90)
    for part in plan.partitions:
        runner.backfill_partition(expanded, part, QUICK)
    linked = session.execute("SELECT id FROM topics WHERE migrated_from_proposal_id IS NOT NULL ORDER BY id").fetchall()
    assert (plan.upper_id, [row["id"] for row in linked]) == (40, [1, 40])
    assert broken_rules(session)["every_topic_has_a_proposal"] == 2


def test_a_plan_is_read_back_from_the_evidence_as_it_was(session: Connection) -> None:
    topics(session, -3, 1, 250)
    plans = make_plan(session, width_ids=100, max_partitions=200)
    evidence.record(session, plan.EVIDENCE, {name: plan.to_evidence() for name, plan in plans.items()})
    assert plan.planned(session) == plans
    last = plans["topic"].partitions[-1]
    assert plan.planned_partition(session, "topic", last.key) == last
    with pytest.raises(PreconditionError, match="no topic partition 7-8"):
        plan.planned_partition(session, "topic", "7-8")


def test_there_is_no_plan_before_phase_1(connection: Connection) -> None:
    with pytest.raises(PreconditionError, match="Run phase 1"):
        planned(connection)


def test_planning_writes_nothing(session: Connection) -> None:
    topics(session, 1, 2)
    session.execute("SET default_transaction_read_only = on")
    planned(session)
    assert count(session, "SELECT count(*) FROM knowledge_extraction_runs") == 0
