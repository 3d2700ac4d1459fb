"""Value verification (strategy §9.1): what was written since is compared again, and nothing that differs gets lost."""

import threading
from collections.abc import Iterator

import pytest

from knowledge_migration.engine.backfill.plan import Partition, make_plan
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.validation.value_verification import (
    KIND,
    RANGE_SHIFT,
    TablePass,
    VerificationPass,
    verification_outcome,
    verify,
)
from knowledge_migration.settings import BackfillSettings

WIDTH = 1 << RANGE_SHIFT
ROWS = """
INSERT INTO topics (id, name, description) SELECT n, 'topic ' || n, 'd' FROM generate_series(1, 3) AS n;
INSERT INTO atoms (id, type, title, content, confidence, user_approved)
SELECT n, 'fact', 'atom ' || n, 'c', 0.5, false FROM unnest(ARRAY[-8192, -1, 1, 2]) AS n
UNION ALL SELECT k * 8192 + 7, 'fact', 'atom in range ' || k, 'c', NULL, false FROM generate_series(1, 8) AS k;
"""


@pytest.fixture
def migrated(expanded: Database) -> Iterator[Database]:
    """Three topics, twelve atoms over eleven key ranges, two of them below zero; all linked."""
    with expanded.connect("test") as connection:
        connection.execute(ROWS)
        open_run(connection)
        plans = make_plan(connection, partition_rows=10**6, max_partitions=200)
    for plan in plans.values():
        for part in plan.partitions:
            backfill_partition(expanded, part, BackfillSettings(rate_limit_per_second=0))
    link_below_zero(expanded)
    return expanded


def link_below_zero(database: Database) -> None:
    """The plan begins above zero; what lies below gets its proposals as dual write would give it one."""
    with database.connect("test") as connection, connection.transaction():
        connection.execute(
            "INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, confidence, status) "
            "SELECT gen_random_uuid(), (SELECT id FROM knowledge_extraction_runs LIMIT 1), type, title, content, confidence, "
            "'approved' FROM atoms WHERE migrated_from_proposal_id IS NULL"
        )
        connection.execute(
            "UPDATE atoms SET migrated_from_proposal_id = proposal.id, migration_timestamp = now() FROM atom_proposals AS "
            "proposal WHERE proposal.title = atoms.title AND atoms.migrated_from_proposal_id IS NULL"
        )


def one_pass(database: Database, *, whole: bool = False, days: float = 7) -> VerificationPass:
    """One pass that does not wait."""
    return verify(database, whole=whole, whole_every_days=days, settle_seconds=0)


def atoms(done: VerificationPass) -> TablePass:
    """What it says of atoms."""
    return next(one for one in done.tables if one.entity == "atom")


def execute(database: Database, statement: str) -> None:
    """One statement, committed."""
    with database.connect("test") as connection:
        connection.execute(statement)


def spoil(database: Database, atom: int) -> None:
    """A proposal whose title is not its row's."""
    with database.connect("test") as connection:
        connection.execute(
            "UPDATE atom_proposals SET title = title || '!' WHERE id = "
            "(SELECT migrated_from_proposal_id FROM atoms WHERE id = %s)",
            (atom,),
        )


def test_the_first_pass_compares_everything_and_the_next_one_nothing(migrated: Database) -> None:
    first, second = one_pass(migrated), one_pass(migrated)
    assert (first.why_whole, first.passed) == ("there is no earlier pass", True)
    assert [(one.linked, one.compared, one.ranges) for one in first.tables] == [(3, 3, 1), (12, 12, 10)]
    assert second.why_whole is None
    assert [(one.whole, one.linked, one.ranges) for one in second.tables] == [(False, 0, 0), (False, 0, 0)]
    assert second.whole_at == first.whole_at


@pytest.mark.parametrize("atom", [-WIDTH, -1, 2, 3 * WIDTH + 7])
def test_a_spoilt_proposal_is_found_in_its_key_range_alone(migrated: Database, atom: int) -> None:
    one_pass(migrated)
    spoil(migrated, atom)
    done = atoms(one_pass(migrated))
    assert (done.whole, done.ranges, done.differing) == (False, 1, (atom,))


@pytest.mark.parametrize("atom", [2**63 - 1, -(2**63)])
def test_the_key_ranges_at_both_ends_of_bigint_are_compared(migrated: Database, atom: int) -> None:
    with migrated.connect("test") as connection:
        connection.execute(
            "INSERT INTO atoms (id, type, title, content, user_approved) VALUES (%s, 'fact', 'end', '', false)", (atom,)
        )
    backfill_partition(migrated, Partition("atom", "sweep", atom - 1, atom), BackfillSettings(rate_limit_per_second=0))
    one_pass(migrated)
    spoil(migrated, atom)
    done = atoms(one_pass(migrated))
    assert (done.whole, done.differing) == (False, (atom,))


def test_a_wrong_copy_keeps_being_found_although_nobody_writes_it_again(migrated: Database) -> None:
    one_pass(migrated)
    spoil(migrated, 2)
    assert [atoms(one_pass(migrated)).differing for _ in range(3)] == [(2,)] * 3
    execute(migrated, "UPDATE atom_proposals SET title = 'atom 2' WHERE title = 'atom 2!'")
    assert one_pass(migrated).passed


def test_what_a_user_has_edited_is_read_again_and_not_judged(migrated: Database) -> None:
    one_pass(migrated)
    execute(migrated, "UPDATE atoms SET content = 'edited', updated_at = now() WHERE id = 1")
    done = atoms(one_pass(migrated))
    assert (done.linked, done.compared, done.differing) == (2, 1, ())


def test_a_write_that_was_under_way_during_a_pass_is_compared_by_the_next(migrated: Database) -> None:
    one_pass(migrated)
    with migrated.connect("user") as user:
        with user.transaction():
            user.execute(
                "UPDATE atom_proposals SET title = 'under way' WHERE id = "
                "(SELECT migrated_from_proposal_id FROM atoms WHERE id = 2)"
            )
            assert one_pass(migrated).passed
        assert atoms(one_pass(migrated)).differing == (2,)


def test_a_write_in_a_savepoint_counts_as_one(migrated: Database) -> None:
    one_pass(migrated)
    with migrated.connect("user") as user, user.transaction():
        user.execute("SELECT pg_current_xact_id()")
        one_pass(migrated)
        with user.transaction():
            user.execute("UPDATE topic_proposals SET name = 'other' WHERE name = 'topic 2'")
    assert next(one for one in one_pass(migrated).tables if one.entity == "topic").differing == (2,)


def test_a_difference_that_settles_does_not_count(migrated: Database) -> None:
    one_pass(migrated)
    spoil(migrated, 2)

    def settle(seconds: float) -> None:
        assert seconds == 30
        execute(migrated, "UPDATE atom_proposals SET title = 'atom 2' WHERE title = 'atom 2!'")

    done = verify(migrated, whole_every_days=7, settle_seconds=30, sleep=settle)
    assert done.passed
    assert (atoms(done).settled, atoms(done).differing) == (1, ())


def test_most_of_a_table_written_means_all_of_it(migrated: Database) -> None:
    one_pass(migrated)
    execute(migrated, "UPDATE atom_proposals SET review_notes = 'seen'")
    done = one_pass(migrated)
    assert done.why_whole is None
    assert (atoms(done).whole, atoms(done).linked) == (True, 12)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cluster": "1"}, "the last pass was of another database; this one was restored since"),
        ({"database_oid": "1"}, "the last pass was of another database; this one was restored since"),
        ({"shift": 4}, "the last pass used another width of key ranges"),
        ({"horizon": "99999999999"}, "the transaction ids of the last pass have wrapped around"),
    ],
)
def test_a_pass_that_cannot_be_built_on_means_all_of_it(
    migrated: Database, change: dict[str, object], why: str
) -> None:
    one_pass(migrated)
    with migrated.connect("test") as connection:
        kept = evidence.latest(connection, KIND)
        assert kept
        evidence.record(connection, KIND, {**kept.content, **change})
    done = one_pass(migrated)
    assert (done.why_whole, atoms(done).linked) == (why, 12)


def test_the_whole_is_compared_again_when_the_last_whole_pass_is_old_and_when_asked(migrated: Database) -> None:
    one_pass(migrated)
    assert one_pass(migrated, whole=True).why_whole == "it was requested"
    assert one_pass(migrated, days=0).why_whole == "the last whole pass is 0.0 days old"


def test_two_passes_at_once_both_end_and_the_next_builds_on_them(migrated: Database) -> None:
    found: list[VerificationPass] = []
    both = [threading.Thread(target=lambda: found.append(one_pass(migrated))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.passed for one in found] == [True, True]
    spoil(migrated, 1)
    assert atoms(one_pass(migrated)).differing == (1,)


def test_nothing_is_said_before_phase_1(database: Database) -> None:
    with pytest.raises(PreconditionError, match="Run phase 1"):
        one_pass(database)


def test_a_difference_after_a_restore_is_an_error_not_bad_data(migrated: Database) -> None:
    execute(migrated, "UPDATE atoms SET content = 'unstamped' WHERE id = 2")
    execute(migrated, "UPDATE migration.backfill_batch SET entity = entity")
    with pytest.raises(VerificationError, match="cannot be distinguished"):
        one_pass(migrated)
    with migrated.connect("test") as connection:
        assert evidence.latest(connection, KIND) is None


def test_the_check_needs_a_fresh_pass_and_names_the_ranges(migrated: Database) -> None:
    with migrated.connect("test") as connection:
        with pytest.raises(PreconditionError, match="Materialize asset value_verification"):
            verification_outcome(connection, max_age_hours=36, sample=5)
        one_pass(migrated)
        assert verification_outcome(connection, max_age_hours=36, sample=5).passed
        spoil(migrated, WIDTH + 7)
        spoil(migrated, 1)
        one_pass(migrated)
        outcome = verification_outcome(connection, max_age_hours=36, sample=5)
        assert (outcome.passed, outcome.count) == (False, 2)
        assert [row["from id"] for row in outcome.sample] == [0, WIDTH]
        with pytest.raises(PreconditionError, match="h old"):
            verification_outcome(connection, max_age_hours=0, sample=5)
