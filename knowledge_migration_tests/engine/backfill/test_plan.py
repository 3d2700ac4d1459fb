"""The plan cuts every id into exactly one partition, gives the same keys each time, and never moves its bound."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_migration.engine.backfill import completion, plan, runner
from knowledge_migration.engine.backfill.plan import EntityPlan, make_plan, partitions_of
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.recovery.ledger import examine_ledger
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, broken_rules, count

LOWEST, HIGHEST = -(2**63), 2**63 - 1
IDS = st.integers(min_value=LOWEST, max_value=HIGHEST)


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


def planned(connection: Connection, partition_rows: int = 100, max_partitions: int = 200) -> EntityPlan:
    """The plan of topics."""
    return make_plan(connection, partition_rows=partition_rows, max_partitions=max_partitions)["topic"]


def ranges(plan: EntityPlan) -> list[tuple[int, int]]:
    """The ends of its partitions."""
    return [(part.after_id, part.through_id) for part in plan.partitions]


@given(st.lists(IDS, min_size=1, max_size=30, unique=True), st.integers(1, 9))
def test_partitions_cover_every_id_exactly_once(ids: list[int], rows: int) -> None:
    ids = sorted(ids)
    parts = partitions_of("topic", ids[0], ids[-1], ids[rows - 1 :: rows])
    assert len(parts) == -(-len(ids) // rows)
    assert len({part.key for part in parts}) == len(parts)
    assert parts[-1].through_id == ids[-1]
    assert all(before.through_id == after.after_id for before, after in itertools.pairwise(parts))
    assert all(sum(part.after_id < number <= part.through_id for part in parts) == 1 for number in ids)


def test_a_plan_that_somebody_altered_is_named(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        evidence.record(connection, plan.EVIDENCE, {"topic": {}, "atom": {}})
        with pytest.raises(VerificationError, match=r"evidence backfill_plan of .* has no field partitions"):
            plan.planned(connection)


def test_an_empty_table_has_no_partitions_and_nothing_to_do(session: Connection) -> None:
    plan = planned(session)
    assert (plan.partitions, plan.rows, plan.linked, plan.upper_id) == ((), 0, 0, 0)


def test_rows_with_ids_below_one_only_are_in_a_partition(expanded: Database, session: Connection) -> None:
    topics(session, -7, -1, 0)
    plan = planned(session)
    assert ranges(plan) == [(-8, 0)]
    assert plan.rows == 3
    assert runner.backfill_partition(expanded, plan.partitions[0], QUICK).linked_rows == 3


def test_a_partition_has_a_number_of_rows_whatever_their_ids_are(session: Connection) -> None:
    topics(session, -5, 0, 1, 150, 10**12)
    plan = planned(session, partition_rows=2)
    assert ranges(plan) == [(-6, 0), (0, 150), (150, 10**12)]
    assert (plan.rows, plan.upper_id, plan.partition_rows) == (5, 10**12, 2)


def test_one_far_id_makes_no_further_partition(session: Connection) -> None:
    topics(session, *range(1, 41), 1541815603606036481)
    assert ranges(planned(session)) == [(0, 1541815603606036481)]


def test_the_whole_range_of_ids_is_backfilled_and_recorded(expanded: Database, session: Connection) -> None:
    topics(session, LOWEST, -5, 0, 2**31, 2**62, HIGHEST)
    plan = planned(session, partition_rows=4)
    assert [runner.backfill_partition(expanded, part, QUICK).linked_rows for part in plan.partitions] == [4, 2]
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}
    assert examine_ledger(session).differences == ()


def test_a_larger_table_gets_larger_partitions_and_not_more(session: Connection) -> None:
    topics(session, *range(1, 12))
    assert [len(planned(session, 2, most).partitions) for most in (200, 6, 5, 2, 1)] == [6, 6, 4, 2, 1]


def test_planning_again_gives_the_same_keys_and_counts_what_is_done(expanded: Database, session: Connection) -> None:
    topics(session, 1, 99, 100, 101, 350)
    first = planned(session, partition_rows=2)
    runner.backfill_partition(expanded, first.partitions[0], QUICK)
    topics(session, 351, 400)
    again = planned(session, partition_rows=2)
    assert [part.key for part in first.partitions] == ["000000000001", "000000000100", "000000000102"]
    assert [part.key for part in again.partitions] == ["000000000001", "000000000100", "000000000102", "000000000352"]
    assert (first.linked, again.linked, again.rows) == (0, 2, 7)


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
    plans = make_plan(session, partition_rows=100, max_partitions=200)
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
