"""What the tests of reviewing share: proposals of an extraction, decisions in a transaction each, and what stands then."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from psycopg.rows import dict_row, tuple_row

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review
from knowledge_migration.knowledge.proposals.approval_recovery import WrongApprovals
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration.knowledge.writing.proposing import write_proposals
from knowledge_migration.knowledge.writing.runs import RunOrigin, open_run
from knowledge_migration_tests.knowledge.conftest import atom, topic

ME = Reviewer("a test", 1, "looks right")
SYSTEM = Reviewer("a test")
WHO = Reviewer("a test", None, "approved by mistake")
ALWAYS = WrongApprovals(since=datetime(2020, 1, 1, tzinfo=UTC))
"""Approvals that should not have been, and the one who undoes them."""

ORIGIN = RunOrigin("proposal", "a test", 1, "told", (1, 2, 3), None)

PAIR = Extraction(
    topics=(topic("backups", 0.6, (1, 2)),),
    atoms=(
        atom("restore", "backups", 0.6, links_to_atom_titles=("rehearse",), link_types=("supports",)),
        atom("rehearse", "backups", 0.6),
    ),
)

WITHOUT_BACKFILL = ("migration_run_is_completed", "every_topic_has_a_proposal", "every_atom_has_a_proposal")


def named(found: Extraction, topic_ids: Sequence[UUID], atom_ids: Sequence[UUID]) -> dict[str, UUID]:
    """The proposals of an extraction by their names."""
    names = [one.name for one in found.topics] + [one.title for one in found.atoms]
    return dict(zip(names, (*topic_ids, *atom_ids), strict=True))


def propose(database: Database, found: Extraction = PAIR) -> dict[str, UUID]:
    """Writes the proposals of one extraction as a run of its own; returns them by name."""
    with database.begin() as transaction:
        return propose_in(transaction, found)


def propose_in(connection: sa.Connection, found: Extraction = PAIR) -> dict[str, UUID]:
    """The same, in a transaction of the caller's."""
    written = write_proposals(connection, open_run(connection, ORIGIN), ORIGIN, found)
    return named(found, written.topic_proposal_ids, written.atom_proposal_ids)


def psycopg_of(connection: sa.Connection) -> Connection:
    """The session below, to look at what is there before it is committed."""
    session: Any = connection.connection.driver_connection
    return session


def decide(database: Database, action: Callable[..., Decision], *args: Any, reviewer: Reviewer = ME) -> Decision:
    """One decision in a transaction of its own."""
    with database.begin() as transaction:
        return action(transaction, *args, reviewer)


def approve(database: Database, *proposal_ids: UUID) -> list[int]:
    """Approves each; returns the rows that they stand for."""
    entities = [decide(database, review.approve, one).entity_id for one in proposal_ids]
    assert None not in entities
    return [entity for entity in entities if entity is not None]


def table(connection: Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, parameters or None).fetchall()


def relations(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that relates topics, atoms and messages, by their names."""
    return {
        "topic_atoms": table(
            connection,
            "SELECT t.name, a.title, r.note FROM topic_atoms r JOIN topics t ON t.id = r.topic_id "
            "JOIN atoms a ON a.id = r.atom_id ORDER BY 1, 2",
        ),
        "atom_links": table(
            connection,
            "SELECT f.title, t.title, link_type FROM atom_links l JOIN atoms f ON f.id = from_atom_id "
            "JOIN atoms t ON t.id = to_atom_id ORDER BY 1, 2",
        ),
        "messages": table(
            connection, "SELECT m.id, t.name FROM messages m JOIN topics t ON t.id = m.topic_id ORDER BY 1"
        ),
    }


def filed(connection: Connection) -> list[tuple[Any, ...]]:
    """(topic, atom) by their names."""
    return [row[:2] for row in relations(connection)["topic_atoms"]]


def audit(connection: Connection) -> list[tuple[Any, ...]]:
    """(actor, action, subject, status before, status after, reason) of every entry about a proposal."""
    return table(
        connection,
        "SELECT actor, action, subject, before ->> 'status', after ->> 'status', reason FROM migration.audit_log "
        "WHERE subject LIKE '%%proposal%%' ORDER BY id",
    )


STRANDED = "no_pending_proposal_is_stranded"


def broken_rules(connection: Connection, *but: str) -> list[str]:
    """The rules of the engine that do not hold; without a backfill some speak of what is not there."""
    without = but or WITHOUT_BACKFILL
    of_its_owner, connection.row_factory = connection.row_factory, dict_row  # SQLAlchemy's sessions have another
    try:
        # proposals are on wherever they are reviewed; that none is stranded is another test's
        asked = [rule for rule in rules.RULES if rule.name not in without and rule.file != STRANDED]
        return [rule.name for rule in asked if not rules.evaluate(connection, rule).passed]
    finally:
        connection.row_factory = of_its_owner


def entity_of(connection: sa.Connection, kind: Any, proposal_id: UUID) -> int | None:
    """The row that a proposal stands for."""
    query = sa.select(kind.entity_of).select_from(kind.joined).where(kind.proposals.c.id == proposal_id)
    return connection.execute(query).scalar_one()


@contextmanager
def at_once(*works: Callable[[], Any]) -> Iterator[list["Future[Any]"]]:
    """Does all works in threads while the block runs; their results or errors are the futures'."""
    with ThreadPoolExecutor(len(works)) as pool:
        yield [pool.submit(work) for work in works]


def held_up(
    database: Database, rows: Connection, lock: str, *works: Callable[[], Any], waiting: int | None = None
) -> list[Any]:
    """Starts all works behind a lock, lets go when all of them wait (for it, or for each other), returns their results."""
    with ExitStack() as opened:
        holder = opened.enter_context(database.connect("holder"))
        with holder.transaction():
            holder.execute(lock)
            futures = opened.enter_context(at_once(*works))
            wait_for(rows, len(works) if waiting is None else waiting)
        return [future.result(30) for future in futures]


def wait_for(rows: Connection, waiting: int) -> None:
    """Returns when so many sessions of this database wait for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    pause = threading.Event()
    for _ in range(1_000):
        if table(rows, query)[0][0] >= waiting:
            return
        pause.wait(0.02)
    raise AssertionError(f"{waiting} sessions never waited")
