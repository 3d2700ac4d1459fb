"""What was decided about proposals, newest first: each decision once, by whom, and whether it can be taken back."""

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.errors import ConflictError, InvalidError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.history import last_decision_of, list_decisions
from knowledge_migration.knowledge.proposals.review import Reviewer
from knowledge_migration.knowledge.proposals.stranded import settle
from knowledge_migration_tests.knowledge.conftest import topic
from knowledge_migration_tests.knowledge.proposals.reviewing import ME, SYSTEM, approve, decide, propose, table

OTHER = Reviewer("a test", 2)
NOISE = """
INSERT INTO migration.audit_log (actor, action, subject, before, after)
VALUES ('somebody', 'set', 'knowledge_proposals', '{}', '{}'), ('somebody', 'correct link', 'topic 1', NULL, NULL),
       ('somebody', 'approve proposal', 'all of them', NULL, NULL),
       ('somebody', 'approve proposal', 'topic proposal ------------------------------------', NULL, NULL),
       ('somebody', 'look at proposal', 'topic proposal 00000000-0000-4000-8000-000000000000', NULL, NULL);
"""


@pytest.fixture
def proposed(peopled: Database, rows: Connection) -> dict[str, UUID]:
    """One topic and two atoms that wait; other entries stand in the log."""
    rows.execute(NOISE)
    rows.execute("UPDATE users SET first_name = 'Ada', last_name = 'Byron' WHERE id = 1")
    return propose(peopled)


def decisions(sql: sa.Connection, limit: int = 50, **wanted: Any) -> list[dict[str, Any]]:
    """All of them, page by page, in a transaction that sees the latest state."""
    sql.rollback()
    items, cursor = [], None
    while True:
        page = list_decisions(sql, limit, cursor, **wanted)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


def told(items: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(item[name] for name in names) for item in items]


def test_decisions_come_newest_first_with_who_what_and_where_the_proposal_stands_now(
    peopled: Database, rows: Connection, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    rows.execute(NOISE)
    decide(peopled, review.reject, proposed["restore"], reviewer=SYSTEM)
    decide(peopled, undo.undo, proposed["restore"], reviewer=OTHER)
    items = decisions(sql)
    assert told(items, "action", "who", "actor", "entity_type", "label", "status_now", "can_undo", "automatic") == [
        ("undo", "user 2", "a test, user 2", "atom", "restore", "pending", False, False),
        ("reject", "a test", "a test", "atom", "restore", "pending", False, False),
        ("approve", "Ada Byron", "a test, user 1", "topic", "backups", "approved", True, False),
    ]
    last = items[-1]
    assert (last["proposal_id"], last["before"], last["reason"]) == (
        proposed["backups"], {"status": "pending"}, "looks right",
    )  # fmt: skip
    assert (last["after"]["status"], last["after"]["entity_id"]) == ("approved", 1)
    ids = [
        row[0] for row in table(rows, "SELECT id FROM migration.audit_log WHERE actor LIKE 'a test%%' ORDER BY id DESC")
    ]
    assert [item["audit_id"] for item in items] == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_of_any_size_show_every_decision_once(
    peopled: Database, rows: Connection, sql: sa.Connection, proposed: dict[str, UUID], limit: int
) -> None:
    for _ in range(3):
        for key in proposed.values():
            decide(peopled, review.reject, key)
            decide(peopled, undo.undo, key)
            rows.execute(NOISE)
    ids = [item["audit_id"] for item in decisions(sql, limit)]
    assert len(ids) == 18
    assert ids == sorted(set(ids), reverse=True)


def test_decisions_of_one_user_of_people_and_of_nobody(
    peopled: Database, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    automatic = {"status": "auto_approved"}
    with peopled.begin() as transaction:
        review.approve(transaction, proposed["backups"], Reviewer("auto-approval"), **automatic)  # type: ignore[arg-type]
    decide(peopled, review.reject, proposed["restore"])
    decide(peopled, review.park, proposed["rehearse"], reviewer=OTHER)
    assert told(decisions(sql), "action", "automatic") == [
        ("park", False), ("reject", False), ("auto_approve", True),
    ]  # fmt: skip
    assert told(decisions(sql, automatic=True), "action", "who") == [("auto_approve", "auto-approval")]
    assert told(decisions(sql, 1, automatic=False), "action") == [("park",), ("reject",)]
    assert told(decisions(sql, 1, by_user=1), "action", "who") == [("reject", "Ada Byron")]
    assert told(decisions(sql, by_user=2, automatic=True), "action") == []
    assert decisions(sql, by_user=3) == []


def test_what_a_rollback_replayed_and_parked_is_automatic(
    peopled: Database, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    propose(peopled, Extraction(topics=(topic("sure", 0.9),)))
    with peopled.engine() as engine:
        settle(engine, 0.7, actor="operator", reason="back to direct mode")
    assert sorted(told(decisions(sql), "action", "automatic", "label", "status_now", "can_undo")) == [
        ("park", True, "backups", "parked", False),
        ("park", True, "rehearse", "parked", False),
        ("park", True, "restore", "parked", False),
        ("replay", True, "sure", "auto_approved", True),
    ]


def test_only_the_last_decision_about_a_proposal_can_be_undone_and_undo_takes_exactly_that_back(
    peopled: Database, rows: Connection, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', '')")
    decide(peopled, review.reject, proposed["backups"])
    decide(peopled, undo.undo, proposed["backups"])
    decide(peopled, review.merge, proposed["backups"], 1)
    decide(peopled, review.reject, proposed["restore"])
    assert told(decisions(sql), "action", "can_undo") == [
        ("reject", True), ("merge", True), ("undo", False), ("reject", False),
    ]  # fmt: skip
    for item in decisions(sql):
        if item["can_undo"]:
            assert decide(peopled, undo.undo, item["proposal_id"]).changed
    assert told(decisions(sql), "can_undo") == [(False,)] * 6


def test_a_row_that_was_kept_adds_nothing_to_the_history(
    peopled: Database, sql: sa.Connection, rows: Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"], proposed["restore"])
    rows.execute("UPDATE topics SET description = 'edited'")
    with pytest.raises(ConflictError):
        decide(peopled, undo.undo, proposed["backups"])
    assert told(decisions(sql), "action", "label", "status_now", "can_undo") == [
        ("approve", "restore", "approved", True),
        ("approve", "backups", "approved", True),
    ]


def test_a_proposal_that_is_gone_and_a_user_who_is_gone_leave_their_decision_in_the_history(
    peopled: Database, rows: Connection, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["restore"], reviewer=Reviewer("a test", 20))
    rows.execute("DELETE FROM messages; DELETE FROM users WHERE id = 20")
    rows.execute("DELETE FROM atom_proposals WHERE id = %s", (proposed["restore"],))
    (item,) = decisions(sql)
    assert (item["who"], item["label"], item["status_now"], item["can_undo"]) == ("a test, user 20", None, None, False)
    assert item["proposal_id"] == proposed["restore"]


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", "9" * 19, "0" * 400, "1 ", "1\n", "\x00"])
def test_a_cursor_that_is_none_of_the_history_is_refused(sql: sa.Connection, cursor: str) -> None:
    with pytest.raises(InvalidError, match="none of this list"):
        list_decisions(sql, 5, cursor)


def test_an_empty_log_has_an_empty_history(sql: sa.Connection) -> None:
    assert decisions(sql) == []
    assert last_decision_of(sql, "a test", 1) is None


# The last decision of a reviewer.


def last(sql: sa.Connection, actor: str = "a test", user_id: int | None = 1) -> UUID | None:
    sql.rollback()
    return last_decision_of(sql, actor, user_id)


def test_undoing_the_last_action_again_and_again_takes_back_everything_that_a_reviewer_did(
    peopled: Database, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    approve(peopled, proposed["backups"])
    decide(peopled, review.reject, proposed["restore"])
    decide(peopled, review.reject, proposed["rehearse"], reviewer=OTHER)
    undone = []
    while (found := last(sql)) and len(undone) < 9:
        undone.append(found)
        assert decide(peopled, undo.undo, found).changed
    assert undone == [proposed["restore"], proposed["backups"]]
    assert last(sql, user_id=2) == proposed["rehearse"]
    assert (last(sql, user_id=None), last(sql, "another", 2)) == (None, None)


def test_a_decision_that_somebody_else_took_back_or_over_is_no_longer_the_reviewers(
    peopled: Database, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["restore"])
    decide(peopled, undo.undo, proposed["restore"], reviewer=OTHER)
    assert last(sql) is None
    decide(peopled, review.reject, proposed["restore"], reviewer=OTHER)
    assert (last(sql), last(sql, user_id=2)) == (None, proposed["restore"])


def test_only_the_last_200_decisions_of_everybody_are_looked_at(
    peopled: Database, rows: Connection, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["restore"], reviewer=ME)
    entry = (
        "INSERT INTO migration.audit_log (actor, action, subject) "
        "SELECT 'b', 'reject proposal', 'topic proposal ' || gen_random_uuid() FROM generate_series(1, %s)"
    )
    rows.execute(entry, (199,))
    assert last(sql) == proposed["restore"]
    rows.execute(NOISE)
    assert last(sql) == proposed["restore"]
    rows.execute(entry, (1,))
    assert last(sql) is None


def test_a_page_of_a_long_log_is_read_without_a_scan_of_the_log(
    peopled: Database, rows: Connection, sql: sa.Connection
) -> None:
    rows.execute(
        "INSERT INTO migration.audit_log (actor, action, subject) "
        "SELECT 'b, user 3', 'reject proposal', 'topic proposal ' || gen_random_uuid() FROM generate_series(1, 30000)"
    )
    rows.execute("ANALYZE migration.audit_log")
    assert len(list_decisions(sql, 50, by_user=3).items) == 50
    assert last_decision_of(sql, "a test", 1) is None
    query = "SELECT pg_stat_get_xact_numscans('migration.audit_log'::regclass)"
    assert sql.exec_driver_sql(query).scalar_one() == 0
    assert sql.exec_driver_sql("SELECT count(*) FROM migration.audit_log WHERE at < now()").scalar_one() == 30_000
    assert sql.exec_driver_sql(query).scalar_one() == 1
