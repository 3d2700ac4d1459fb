"""The rollback of phase 3 leaves the legacy tables equal, deletes the backfill only, and can be killed anywhere."""

import subprocess
import sys

import pytest

from knowledge_migration.engine.backfill.quarantine import decide, quarantined
from knowledge_migration.engine.foundation import fingerprint
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, PreconditionError
from knowledge_migration.engine.rollback import backfill as backfill_rollback
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    at_the_same_time,
    backfill,
    blocked_by,
    broken_rules,
    count,
    fill,
    gone,
)

ROLLBACK = "knowledge_migration backfill rollback"
PATIENT = BackfillSettings(lock_timeout_ms=10_000, retry_attempts=1)

DUAL_WRITTEN = """
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count)
VALUES ('00000000-0000-0000-0000-0000000000aa', 'completed', '[1]', 1);
INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, confidence, status, review_action)
SELECT ('00000000-0000-0000-0000-' || lpad(id::text, 12, '0'))::uuid, '00000000-0000-0000-0000-0000000000aa',
       type, title, content, 0.9, 'auto_approved', 'dual_write'
FROM atoms WHERE id % 10 = 0;
UPDATE atoms SET migrated_from_proposal_id = ('00000000-0000-0000-0000-' || lpad(id::text, 12, '0'))::uuid,
                 migration_timestamp = '2026-01-01'
WHERE id % 10 = 0
"""

CHILD = """
import sys
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.settings import BackfillSettings

def tell(table, rows):
    print(table, rows, flush=True)
    sys.stdin.readline()

rollback_backfill(Database(sys.argv[1]), reason="to be killed", limits=BackfillSettings(), batch_size=20, on_rows=tell)
"""


def whole_rows(connection: Connection) -> dict[str, object]:
    """A checksum of every value of the legacy rows, the two new columns included."""
    query = "SELECT count(*) AS rows, md5(string_agg(row::text, '|' ORDER BY row.id)) AS hash FROM {} AS row"
    return {table: connection.execute(query.format(table)).fetchone() for table in ("topics", "atoms")}


def proposals(connection: Connection) -> int:
    """Proposals of both kinds."""
    return count(connection, "SELECT (SELECT count(*) FROM topic_proposals) + (SELECT count(*) FROM atom_proposals)")


def test_a_trigger_that_changes_other_columns_stops_it_before_a_row_is_changed(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        connection.execute(
            "CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END';"
            "CREATE TRIGGER touched BEFORE UPDATE ON topics FOR EACH ROW EXECUTE FUNCTION touched()"
        )
        before = whole_rows(connection), proposals(connection)
        with pytest.raises(PreconditionError, match=r"would also change its other columns through a trigger \(touched"):
            backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)
        assert (whole_rows(connection), proposals(connection)) == before
        backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK.replaced(triggers="replica"))
        assert proposals(connection) == 0


def test_the_legacy_tables_equal_their_fingerprint_afterwards(any_expanded: Database) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        prints, rows = fingerprint.take(connection), whole_rows(connection)
        backfill(any_expanded)
        backfill_rollback.rollback_backfill(any_expanded, reason="a test", limits=QUICK, batch_size=33)
        assert fingerprint.differences(prints, fingerprint.take(connection, like=prints)) == []
        assert whole_rows(connection) == rows
        assert proposals(connection) == 0


def test_dual_written_proposals_and_their_links_stay(expanded: Database, session: Connection) -> None:
    session.execute(DUAL_WRITTEN)
    rows = whole_rows(session)
    kept = session.execute("SELECT * FROM atom_proposals ORDER BY id").fetchall()
    backfill(expanded)
    done = backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK, batch_size=7)
    assert whole_rows(session) == rows
    assert session.execute("SELECT * FROM atom_proposals ORDER BY id").fetchall() == kept
    assert (done.unlinked_rows, done.deleted_proposals) == (
        {"topics": 60, "atoms": 360},
        {"topic_proposals": 60, "atom_proposals": 360},
    )
    assert count(session, "SELECT count(*) FROM knowledge_extraction_runs") == 1


def test_proposals_of_rows_that_users_deleted_go_too_and_edits_stay(expanded: Database, session: Connection) -> None:
    backfill(expanded)
    session.execute(
        "DELETE FROM topic_atoms WHERE atom_id > 380; DELETE FROM atoms WHERE id > 380;"
        "UPDATE atoms SET title = 'edited' WHERE id = 5; INSERT INTO topics (name, description) VALUES ('new', '')"
    )
    done = backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK, batch_size=8)
    assert (done.unlinked_rows["atoms"], done.deleted_proposals["atom_proposals"]) == (380, 400)
    assert proposals(session) == 0
    assert count(session, "SELECT count(*) FROM atoms WHERE title = 'edited'") == 1
    assert count(session, "SELECT count(*) FROM topics WHERE name = 'new'") == 1


def test_the_run_and_its_ledger_go_and_the_audit_log_says_who_and_why(expanded: Database, session: Connection) -> None:
    backfill(expanded)
    backfill_rollback.rollback_backfill(expanded, reason="wrong data", limits=QUICK, actor="ada", dagster_run_id="r1")
    for table in ("knowledge_extraction_runs", "migration.backfill_batch"):
        assert count(session, f"SELECT count(*) FROM {table}") == 0  # noqa: S608
    rows = session.execute("SELECT actor, action, reason, before, dagster_run_id FROM migration.audit_log ORDER BY id")
    before = {"topic_proposals": 60, "atom_proposals": 400}
    assert [tuple(row.values()) for row in rows] == [
        ("ada", "rollback backfill begun", "wrong data", before, "r1"),
        ("ada", "rollback backfill", "wrong data", before, "r1"),
    ]


def test_after_it_the_backfill_runs_again_with_the_decisions_that_were_made(
    expanded: Database, session: Connection
) -> None:
    session.execute("UPDATE atoms SET confidence = 2 WHERE id IN (5, 6, 7)")
    backfill(expanded)
    decide(session, "atom", [5], "clamp", note="percent")
    decide(session, "atom", [6], "accept", note="a test row")
    backfill(expanded)
    backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)
    assert {row["row_id"]: row["state"] for row in quarantined(session)} == {5: "retry", 6: "accepted", 7: "open"}
    backfill(expanded)
    assert broken_rules(session) == {"every_atom_has_a_proposal": 1, "quarantine_is_decided": 1}
    assert {row["row_id"]: row["state"] for row in quarantined(session)} == {5: "resolved", 6: "accepted", 7: "open"}


def test_where_nothing_was_backfilled_it_does_nothing_and_says_nothing(expanded: Database, session: Connection) -> None:
    assert backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK).deleted_proposals == {}
    assert count(session, "SELECT count(*) FROM migration.audit_log") == 0


def test_before_phase_1_there_is_nothing_to_take_back(database: Database) -> None:
    assert backfill_rollback.rollback_backfill(database, reason="a test", limits=QUICK).deleted_proposals == {}


@pytest.mark.parametrize("batches", [1, 3, 4, 12, 23])
def test_killed_anywhere_it_is_completed_by_the_next_one(expanded: Database, session: Connection, batches: int) -> None:
    rows = whole_rows(session)
    backfill(expanded)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, expanded.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin
    assert child.stdout
    for _ in range(batches - 1):
        assert child.stdout.readline()
        child.stdin.write("\n")
        child.stdin.flush()
    assert child.stdout.readline()
    child.kill()
    child.communicate()
    gone(session, ROLLBACK)
    left = proposals(session)
    assert left == 460 - 20 * batches
    linked = "SELECT (SELECT count(migrated_from_proposal_id) FROM topics) + (SELECT count(migrated_from_proposal_id) FROM atoms)"
    assert count(session, linked) == left
    assert count(session, "SELECT count(*) FROM migration.audit_log WHERE reason = 'to be killed'") == 1
    backfill_rollback.rollback_backfill(expanded, reason="again", limits=QUICK)
    assert (whole_rows(session), proposals(session)) == (rows, 0)
    backfill(expanded)
    assert broken_rules(session) == {}


def test_half_taken_back_the_backfill_can_also_go_on(expanded: Database, session: Connection) -> None:
    backfill(expanded)

    def stop(_: str, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK, batch_size=25, on_rows=stop)
    assert proposals(session) == 435
    backfill(expanded)
    assert broken_rules(session) == {}


def test_it_is_refused_while_a_backfill_runs_and_a_backfill_while_it_runs(
    expanded: Database, session: Connection
) -> None:
    backfill(expanded)
    with (
        expanded.connect("other") as other,
        advisory_lock(other, BACKFILL, shared=True),
        pytest.raises(BusyError, match="pid"),
    ):
        backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)

    def begin_backfill(_: str, rows: int) -> None:
        with pytest.raises(BusyError):
            backfill(expanded)

    backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK, on_rows=begin_backfill)
    assert proposals(session) == 0


def test_rows_that_a_user_holds_are_waited_for_at_the_end_holding_no_other(
    expanded: Database, session: Connection
) -> None:
    rows = whole_rows(session)
    backfill(expanded)
    with expanded.connect("user") as user, user.transaction():
        user.execute("UPDATE topics SET icon = icon WHERE id = 30")
        with at_the_same_time(
            lambda: backfill_rollback.rollback_backfill(expanded, reason="a test", limits=PATIENT)
        ) as done:
            blocked_by(session, user, ROLLBACK)
            assert count(session, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 1
            user.execute("SET LOCAL lock_timeout = '2s'; UPDATE topics SET icon = icon; COMMIT; BEGIN")
            assert done.result().unlinked_rows == {"topics": 60, "atoms": 400}
    assert whole_rows(session) == rows


def test_it_gives_up_on_a_row_that_is_never_let_go_of_and_goes_on_later(
    expanded: Database, session: Connection
) -> None:
    backfill(expanded)
    with expanded.connect("user") as user, user.transaction():
        user.execute("UPDATE topics SET icon = icon WHERE id = 30")
        with pytest.raises(BlockedError, match=r"The rollback of topics was stopped 8 times.*run the rollback again"):
            backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)
    assert proposals(session) == 401
    backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)
    assert proposals(session) == 0


def test_what_it_would_delete_is_told_before(expanded: Database, session: Connection) -> None:
    assert backfill_rollback.backfill_extent(session) == {"topic_proposals": 0, "atom_proposals": 0}
    backfill(expanded)
    assert backfill_rollback.backfill_extent(session) == {"topic_proposals": 60, "atom_proposals": 400}
