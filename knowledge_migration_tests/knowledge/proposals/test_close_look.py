"""What a reviewer sees of one proposal: where it comes from, what it resembles, who decided, what to be careful about."""

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.knowledge.kinds import TOPIC
from knowledge_migration.knowledge.proposals.close_look import (
    CloseLook,
    RunSeen,
    Thresholds,
    close_look,
)
from knowledge_migration.knowledge.proposals.differences import Part
from knowledge_migration.knowledge.proposals.listing import one_proposal
from knowledge_migration_tests.knowledge.proposals.reviewing import propose

TARGETS = """
INSERT INTO topics (name, description, icon, color) VALUES ('target', 'about all backups', NULL, '#64748B');
INSERT INTO atoms (type, title, content, user_approved, confidence, meta)
VALUES ('insight', 'target', 'as it is', false, NULL, '{"b": 1, "a": [1]}');
"""


@pytest.fixture
def proposed(peopled: Database) -> dict[str, UUID]:
    """One topic and two linked atoms that wait."""
    return propose(peopled)


@pytest.fixture
def look(peopled: Database) -> Any:
    """Looks at a proposal in a transaction of its own."""

    def looked(proposal_id: UUID, *thresholds: Thresholds) -> CloseLook:
        with peopled.begin() as transaction:
            return close_look(transaction, proposal_id, *thresholds)

    return looked


def flag(rows: Connection, name: str, kind: str = "spelling", score: float = 0.84, *, entity: int | None = 1) -> None:
    """Says what the search for duplicates would have said."""
    rows.execute(
        "UPDATE topic_proposals SET similar_topic_id = %s, similarity_score = %s, similarity_type = %s WHERE name = %s",
        (entity, score, kind, name),
    )
    rows.execute(
        "UPDATE atom_proposals SET similar_atom_id = %s, similarity_score = %s, similarity_type = %s WHERE title = %s",
        (entity, score, kind, name),
    )


def shown(parts: tuple[Part, ...]) -> str:
    """Parts on one line."""
    marks = {"same": "{}", "removed": "-[{}]", "added": "+[{}]"}
    return "".join(marks[part.how].format(part.text) for part in parts)


# A proposal that waits.


def test_a_topic_that_waits_is_seen_with_its_run_and_its_own_messages(
    look: Any, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    seen = look(proposed["backups"])
    assert (seen.kind, seen.proposal) == (TOPIC, one_proposal(sql, proposed["backups"]))
    made = sql.exec_driver_sql("SELECT id, created_at FROM knowledge_extraction_runs").one()
    assert seen.run == RunSeen(made.id, made.created_at, "told", "proposal", 3)
    assert [(one.id, one.content, one.author) for one in seen.messages] == [
        (1, "message 1", "user 2"),
        (2, "message 2", "user 3"),
    ]
    assert (seen.message_total, seen.messages_are_of) == (2, "proposal")
    assert (seen.topics, seen.similar, seen.similar_gone, seen.why) == ((), None, False, "")
    assert (seen.decided, seen.entity) == (None, None)
