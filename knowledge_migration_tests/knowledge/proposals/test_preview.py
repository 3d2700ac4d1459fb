"""What approving many proposals would do, and that approving them does it."""

from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.knowledge.proposals.review import Reviewer, approve, preview_approvals

REVIEWER = Reviewer("a test")

WAITING = """
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count)
VALUES ('00000000-0000-0000-0000-000000000001', 'completed', '[]', 0);
INSERT INTO topics (name, description) VALUES ('known', 'an existing one');
INSERT INTO atoms (type, title, content, user_approved) VALUES
    ('insight', 'known', 'said before', true), ('insight', 'known', 'another text', true);
INSERT INTO topic_proposals (id, extraction_run_id, name, description, confidence, status) VALUES
    ('00000000-0000-0000-0000-0000000000a1', '00000000-0000-0000-0000-000000000001', 'new', 'd', 0.9, 'pending'),
    ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-000000000001', 'known', 'd', 0.9, 'pending'),
    ('00000000-0000-0000-0000-0000000000a3', '00000000-0000-0000-0000-000000000001', 'new', 'd', 0.8, 'parked'),
    ('00000000-0000-0000-0000-0000000000a4', '00000000-0000-0000-0000-000000000001', 'gone by', 'd', 0.8, 'rejected');
INSERT INTO atom_proposals (extraction_run_id, id, type, title, content, confidence, status)
SELECT '00000000-0000-0000-0000-000000000001', id::uuid, type, title, content, 0.9, status FROM (VALUES
    ('00000000-0000-0000-0000-0000000000b1', 'insight', 'known', 'said before', 'pending'),
    ('00000000-0000-0000-0000-0000000000b2', 'problem', 'known', 'said before', 'pending'),
    ('00000000-0000-0000-0000-0000000000b3', 'insight', 'new', 'd', 'withdrawn')
) AS proposed (id, type, title, content, status);
"""


@pytest.fixture
def waiting(rows: Connection) -> Connection:
    """One proposal for each thing that may happen to it."""
    rows.execute(WAITING)
    return rows


def test_each_proposal_is_foreseen_for_what_it_is(waiting: Connection, sql: sa.Connection) -> None:
    ids = [UUID(int=number) for number in (0xA1, 0xA2, 0xA3, 0xA4, 0xB1, 0xB2, 0xB3)]
    unknown = uuid4()
    found = preview_approvals(sql, [*ids, unknown])

    assert [(one.proposal_id, one.effect) for one in found] == [
        (ids[0], "creates"),
        (ids[1], "matches"),
        (ids[2], "joins"),
        (ids[3], "is decided"),
        (ids[4], "matches"),
        (ids[5], "creates"),
        (ids[6], "creates"),
        (unknown, "is gone"),
    ]
    assert (found[1].entity_id, found[4].entity_id, found[3].status) == (1, 1, "rejected")


def test_approving_them_does_what_was_foreseen(waiting: Connection, sql: sa.Connection) -> None:
    ids = [UUID(int=number) for number in (0xA1, 0xA2, 0xA3, 0xB1, 0xB2, 0xB3)]
    foreseen = preview_approvals(sql, ids)
    before = {
        kind: waiting.execute(f"SELECT count(*) AS n FROM {kind}").fetchone()["n"]  # type: ignore[index] # noqa: S608
        for kind in ("topics", "atoms")
    }
    decided = {one: approve(sql, one, REVIEWER) for one in ids}
    sql.commit()

    for one in foreseen:
        if one.effect == "matches":
            assert decided[one.proposal_id].entity_id == one.entity_id
    for kind, name in (("topics", "topic"), ("atoms", "atom")):
        after = waiting.execute(f"SELECT count(*) AS n FROM {kind}").fetchone()["n"]  # type: ignore[index] # noqa: S608
        new = [one for one in foreseen if one.entity_type == name and one.effect == "creates"]
        assert after - before[kind] == len(new)


def test_nothing_selected_is_nothing_foreseen(waiting: Connection, sql: sa.Connection) -> None:
    assert preview_approvals(sql, []) == []
