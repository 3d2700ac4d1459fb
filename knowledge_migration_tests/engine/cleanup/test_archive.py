"""Old extractions are archived when nobody needs them, are in one place at any moment, and come back as they were."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from knowledge_migration.engine.cleanup import archive
from knowledge_migration.engine.cleanup.archive import Archived, Extent
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, PreconditionError
from knowledge_migration_tests.engine.backfill.backfilling import at_the_same_time, count, gone, until
from knowledge_migration_tests.engine.cleanup.process import process
from knowledge_migration_tests.engine.cleanup.retiring import QUICK, in_days

RUN = """
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, settings, completed_at)
VALUES (%(id)s, %(status)s, '[1, 2]', 2, '{"mode": "proposal"}', now())
"""
TOPIC = """
INSERT INTO topic_proposals (id, extraction_run_id, name, description, status, confidence, similar_topic_id, similarity_type,
                             reviewed_by_user_id)
VALUES (%(id)s, %(run)s, 'a topic', '', %(status)s, 0.1, %(similar)s, %(type)s, %(reviewer)s)
"""
ATOM = """
INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, status, confidence, meta, proposed_topic_ids,
                            proposed_links)
VALUES (%(id)s, %(run)s, 'insight', 'an atom', '', %(status)s, 0.30000000000000004, %(meta)s::jsonb, %(topics)s::jsonb,
        %(links)s::jsonb)
"""


def run(rows: Connection, status: str = "completed") -> UUID:
    made = uuid4()
    rows.execute(RUN, {"id": made, "status": status})
    return made


def topic(rows: Connection, of: UUID, status: str = "rejected", **given: Any) -> UUID:
    made = uuid4()
    rows.execute(
        TOPIC, {"id": made, "run": of, "status": status, "similar": None, "type": None, "reviewer": None, **given}
    )
    return made


def atom(rows: Connection, of: UUID, status: str = "rejected", **given: Any) -> UUID:
    made = uuid4()
    rows.execute(ATOM, {"id": made, "run": of, "status": status, "meta": None, "topics": None, "links": None, **given})
    return made


def old(rows: Connection) -> UUID:
    """A run with a rejected topic and a withdrawn atom: it may go."""
    made = run(rows)
    topic(rows, made)
    atom(rows, made, "withdrawn")
    return made


def move(database: Database, **given: Any) -> Archived:
    return archive.archive_extractions(
        database, **{"reason": "a test", "now": in_days(31), "older_than_days": 30, **given}
    )


def everything(rows: Connection) -> list[dict[str, Any]]:
    """Runs and proposals, all columns, as text."""
    return rows.execute(
        "SELECT r::text AS row FROM knowledge_extraction_runs r UNION ALL SELECT t::text FROM topic_proposals t "
        "UNION ALL SELECT a::text FROM atom_proposals a ORDER BY 1"
    ).fetchall()


def archived_ids(rows: Connection) -> set[UUID]:
    return {row["id"] for row in rows.execute("SELECT id FROM knowledge_extraction_archive").fetchall()}


def live_ids(rows: Connection) -> set[UUID]:
    return {row["id"] for row in rows.execute("SELECT id FROM knowledge_extraction_runs").fetchall()}


def holds(rows: Connection) -> bool:
    return archive.archive_outcome(rows).passed


def test_an_old_run_is_moved_with_its_proposals(full: Database, rows: Connection) -> None:
    gone_run, empty = old(rows), run(rows, "failed")
    assert move(full) == Archived(2, 1, 1, {})
    assert (archived_ids(rows), live_ids(rows)) == ({gone_run, empty}, set())
    assert count(rows, "SELECT count(*) FROM topic_proposals") + count(rows, "SELECT count(*) FROM atom_proposals") == 0
    assert holds(rows)
    assert archive.archive_extent(rows) == Extent(2, 1, 1)


def test_a_second_time_moves_nothing(full: Database, rows: Connection) -> None:
    old(rows)
    move(full)
    assert move(full) == Archived(0, 0, 0, {})
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'archive extractions'") == 1


def test_a_run_that_is_not_old_enough_stays(full: Database, rows: Connection) -> None:
    young = old(rows)
    assert move(full, now=in_days(29.9)) == Archived(0, 0, 0, {})
    assert move(full, now=in_days(10), older_than_days=9).runs == 1
    assert archived_ids(rows) == {young}


def test_a_dry_run_counts_and_changes_nothing(full: Database, rows: Connection) -> None:
    old(rows)
    topic(rows, run(rows), "pending")
    before = everything(rows)
    assert move(full, dry_run=True) == Archived(1, 1, 1, {"a proposal of it waits": 1})
    assert (everything(rows), archived_ids(rows)) == (before, set())


def linked_topic(rows: Connection) -> UUID:
    made = run(rows)
    rows.execute(
        "INSERT INTO topics (name, description, migrated_from_proposal_id) VALUES ('t', '', %(id)s)",
        {"id": topic(rows, made, "approved")},
    )
    return made


def linked_atom(rows: Connection) -> UUID:
    made = run(rows)
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved, migrated_from_proposal_id) "
        "VALUES ('insight', 'a', '', true, %(id)s)",
        {"id": atom(rows, made, "auto_approved")},
    )
    return made


def waiting_topic(rows: Connection) -> UUID:
    made = old(rows)
    topic(rows, made, "pending")
    return made


def parked_atom(rows: Connection) -> UUID:
    made = old(rows)
    atom(rows, made, "parked")
    return made


def matched(rows: Connection, status: str = "auto_approved", type_: str | None = "exact") -> UUID:
    rows.execute("INSERT INTO topics (id, name, description) VALUES (7, 'seven', '')")
    made = run(rows)
    topic(rows, made, status, similar=7, type=type_)
    return made


def merged(rows: Connection) -> UUID:
    return matched(rows, "merged", None)


def of_the_backfill(rows: Connection) -> UUID:
    found = rows.execute("SELECT migration.origin_proposal_id('knowledge_extraction_runs', 0) AS id").fetchone()
    assert found
    rows.execute(RUN, {"id": found["id"], "status": "completed"})
    return UUID(str(found["id"]))


def running(rows: Connection) -> UUID:
    return run(rows, "running")


def not_begun(rows: Connection) -> UUID:
    return run(rows, "pending")


def named_as_a_topic(rows: Connection) -> UUID:
    made = run(rows)
    other = run(rows)
    atom(rows, other, "pending", topics=f'[3, "{topic(rows, made)}", "no id"]')
    return made


def named_in_a_link(rows: Connection) -> UUID:
    made = run(rows)
    other = run(rows)
    atom(rows, other, "pending", links=f'[{{"proposal": "{atom(rows, made)}", "type": "solves"}}]')
    return made


def of_a_failed_shadow(rows: Connection) -> UUID:
    made = run(rows)
    rows.execute(
        "INSERT INTO migration.shadow_failure (extraction_run_id, process, reason, content) VALUES (%(id)s, 'p', 'r', '{}')",
        {"id": made},
    )
    return made


STAYING = [
    (linked_topic, "a row came from it"),
    (linked_atom, "a row came from it"),
    (waiting_topic, "a proposal of it waits"),
    (parked_atom, "a proposal of it waits"),
    (matched, "a proposal of it stands for a row"),
    (merged, "a proposal of it stands for a row"),
    (of_the_backfill, "the run of the backfill"),
    (running, "not over"),
    (not_begun, "not over"),
    (named_as_a_topic, "another run refers to its proposals"),
    (named_in_a_link, "another run refers to its proposals"),
    (of_a_failed_shadow, "a failed shadow of it is not repaired"),
]


@pytest.mark.parametrize(("make", "why"), STAYING, ids=[make.__name__ for make, _ in STAYING])
def test_a_run_that_is_needed_stays_and_says_why(full: Database, rows: Connection, make: Any, why: str) -> None:
    needed, gone_run = make(rows), old(rows)
    done = move(full)
    assert done.kept[why] == 1
    assert needed in live_ids(rows)
    assert gone_run in archived_ids(rows)
    assert holds(rows)


def test_what_needed_it_being_gone_it_is_moved(full: Database, rows: Connection) -> None:
    first, second, third = linked_topic(rows), of_a_failed_shadow(rows), matched(rows)
    rows.execute("UPDATE migration.shadow_failure SET repaired_at = now()")
    rows.execute("DELETE FROM topics")
    move(full)
    assert archived_ids(rows) == {first, second, third}


def test_many_runs_go_in_batches_and_those_between_stay(full: Database, rows: Connection) -> None:
    going, staying = set(), set()
    for number in range(11):
        (staying if number % 3 == 0 else going).add(run(rows, "running" if number % 3 == 0 else "completed"))
    told: list[int] = []
    done = move(full, batch_runs=2, on_batch=lambda now: told.append(now.runs))
    assert (done.runs, done.kept, archived_ids(rows), live_ids(rows)) == (7, {"not over": 4}, going, staying)
    assert told == sorted(told)
    assert holds(rows)


def test_a_run_that_a_reviewer_holds_is_left_for_the_next_time(full: Database, rows: Connection) -> None:
    held, free = old(rows), old(rows)
    with full.connect("a reviewer") as reviewer:
        reviewer.execute("BEGIN")
        reviewer.execute("SELECT FROM knowledge_extraction_runs WHERE id = %(id)s FOR NO KEY UPDATE", {"id": held})
        assert move(full).kept == {archive.AT_WORK: 1}
    assert (archived_ids(rows), live_ids(rows)) == ({free}, {held})
    assert move(full).runs == 1


def test_what_a_reviewer_decides_between_choosing_and_locking_is_seen(full: Database, rows: Connection) -> None:
    chosen = old(rows)

    class Decided(archive._Walk):
        def move(self, *args: Any) -> None:
            rows.execute("UPDATE topic_proposals SET status = 'pending'")
            super().move(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "_Walk", Decided)
        assert move(full) == Archived(0, 0, 0, {archive.AT_WORK: 1})
    assert live_ids(rows) == {chosen}


def test_a_transaction_that_holds_a_proposal_is_waited_for_and_told(full: Database, rows: Connection) -> None:
    old(rows)
    with full.connect("a user") as user:
        user.execute("BEGIN")
        user.execute("UPDATE topic_proposals SET similarity_score = 0.5")
        with pytest.raises(BlockedError, match="could not be archived in 3 attempts"):
            move(full, limits=QUICK)
        assert archived_ids(rows) == set()
        with at_the_same_time(lambda: move(full)) as future:
            until(rows, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            user.execute("COMMIT")
            assert future.result().runs == 1
    assert holds(rows)


@pytest.mark.parametrize("place", ["2 archived", "4 archived"])
def test_killed_between_batches_nothing_is_lost_or_doubled(full: Database, rows: Connection, place: str) -> None:
    runs = {old(rows) for _ in range(5)}
    with process(full, "archive") as running_one:
        running_one.reach(place)
        running_one.kill()
    gone(rows, "knowledge_migration cleanup")
    assert archived_ids(rows) | live_ids(rows) == runs
    assert not archived_ids(rows) & live_ids(rows)
    assert holds(rows)
    move(full)
    assert archived_ids(rows) == runs
    assert holds(rows)


def test_killed_within_a_batch_the_batch_is_where_it_was(full: Database, rows: Connection) -> None:
    runs = {old(rows) for _ in range(2)}
    with full.connect("a user") as user:
        user.execute("BEGIN")
        user.execute("SELECT FROM atom_proposals FOR KEY SHARE")
        with process(full, "archive") as running_one:
            until(rows, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            running_one.kill()
        user.execute("COMMIT")
    gone(rows, "knowledge_migration cleanup")
    assert (archived_ids(rows), live_ids(rows)) == (set(), runs)
    assert move(full).runs == 2


def test_two_operators_at_once_are_told_of_each_other(full: Database) -> None:
    with (
        full.connect("another operator") as other,
        advisory_lock(other, archive.WORK),
        pytest.raises(BusyError, match="another operator"),
    ):
        move(full)


def test_no_rollback_counts_proposals_meanwhile(full: Database) -> None:
    with (
        full.connect("a rollback") as other,
        advisory_lock(other, archive.BACKFILL),
        pytest.raises(BusyError, match="a rollback"),
    ):
        move(full)


def test_a_run_comes_back_as_it_was(full: Database, rows: Connection) -> None:
    made = run(rows, "failed")
    rows.execute("UPDATE knowledge_extraction_runs SET error_message = E'a \\u00e4 \\\\ \"b\"', created_by_user_id = 1")
    rows.execute("INSERT INTO topics (id, name, description) VALUES (7, 'seven', '')")
    topic(rows, made, similar=7, type="spelling", reviewer=2)
    for meta in (None, "null", "{}", '{"a": [1.10, null], "b": "c"}'):
        atom(rows, made, meta=meta, topics="[]", links="[]")
    before = everything(rows)
    move(full)
    assert everything(rows) == []
    assert archive.restore_archived(full, made, reason="needed again") == Extent(1, 1, 4)
    assert everything(rows) == before
    assert holds(rows)
    assert archived_ids(rows) == set()


def test_what_is_gone_since_is_forgotten_as_its_deletion_would_have_done(full: Database, rows: Connection) -> None:
    made = run(rows)
    rows.execute("INSERT INTO topics (id, name, description) VALUES (7, 'seven', '')")
    rows.execute("INSERT INTO users (id, first_name, is_active, is_bot) VALUES (77, 'leaving', true, false)")
    rows.execute("UPDATE knowledge_extraction_runs SET created_by_user_id = 77")
    topic(rows, made, similar=7, type="spelling", reviewer=77)
    move(full)
    rows.execute("DELETE FROM topics")
    rows.execute("DELETE FROM users WHERE id = 77")
    archive.restore_archived(full, made, reason="needed again")
    found = rows.execute(
        "SELECT similar_topic_id, similarity_type, reviewed_by_user_id FROM topic_proposals"
    ).fetchall()
    assert found == [{"similar_topic_id": None, "similarity_type": "spelling", "reviewed_by_user_id": None}]
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs WHERE created_by_user_id IS NULL") == 1


def test_a_run_that_is_not_in_the_archive_is_not_restored(full: Database, rows: Connection) -> None:
    made = old(rows)
    with pytest.raises(PreconditionError, match="is not in the archive"):
        archive.restore_archived(full, made, reason="a test")


def test_before_phase_1_there_is_no_archive(database: Database) -> None:
    with pytest.raises(PreconditionError, match="phase_1_schema"):
        move(database)


def problems(rows: Connection) -> set[str]:
    return {row["problem"] for row in archive.archive_outcome(rows).sample}


def test_the_rule_finds_each_kind_of_loss(full: Database, rows: Connection) -> None:
    made = old(rows)
    kept = rows.execute("SELECT id FROM atom_proposals").fetchone()
    move(full)
    assert kept
    rows.execute(RUN, {"id": made, "status": "completed"})
    rows.execute(
        ATOM, {"id": kept["id"], "run": made, "status": "rejected", "meta": None, "topics": None, "links": None}
    )
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved, migrated_from_proposal_id) "
        "VALUES ('insight', 'a', '', true, %(id)s)",
        {"id": kept["id"]},
    )
    assert problems(rows) == {
        "atom 1 came from it",
        "the run is in its own table too",
        "the proposal is in its own table too",
    }
    rows.execute("DELETE FROM knowledge_extraction_archive")
    assert problems(rows) == {"the archive holds 0 runs, 0 and 0 proposals; the audit log says 1, 1 and 1"}
