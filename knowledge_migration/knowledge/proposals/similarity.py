"""Flags pending proposals with the existing topic or atom that they are similar to (strategy §6.2, §9.2).

The search runs at once where it decides about an approval, else right after the extraction, so that the user does not wait. The
run records that its search is due, so another process does the search of a killed one.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import Candidate
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs

SIMILARITY_DUE = "similarity_due"  # a key of the settings of a run
SEARCHED_FOR = timedelta(days=7)


def due_runs(connection: sa.Connection, limit: int) -> Sequence[UUID]:
    """The latest runs whose similarity search is due."""
    recent = runs.c.created_at > sa.func.now() - SEARCHED_FOR
    query = sa.select(runs.c.id).where(recent, runs.c.status == "completed", runs.c.settings.has_key(SIMILARITY_DUE))
    return connection.execute(query.order_by(runs.c.created_at.desc()).limit(limit)).scalars().all()


def flag_runs(connection: sa.Connection, finder: DuplicateFinder, run_ids: Sequence[UUID]) -> int:
    """Flags the pending proposals of these runs, in the caller's transaction; returns how many were similar.

    Locks the runs first, as reviewers do, so it never deadlocks with one.
    """
    wanted = sa.select(runs.c.id).where(runs.c.id.in_(sorted(run_ids))).order_by(runs.c.id)
    connection.execute(wanted.with_for_update(key_share=True))
    flagged = sum(_flag(connection, finder, kind, kind.proposals.c.extraction_run_id.in_(run_ids)) for kind in KINDS)
    without = runs.c.settings.delete_path([SIMILARITY_DUE])
    connection.execute(sa.update(runs).where(runs.c.id.in_(sorted(run_ids))).values(settings=without))
    return flagged


def flag_proposals(connection: sa.Connection, finder: DuplicateFinder, kind: EntityKind, ids: Sequence[UUID]) -> int:
    """Flags these, if they are pending and not flagged yet; returns how many were similar."""
    return _flag(connection, finder, kind, kind.proposals.c.id.in_(ids)) if ids else 0


def _flag(connection: sa.Connection, finder: DuplicateFinder, kind: EntityKind, which: sa.ColumnElement[bool]) -> int:
    columns = kind.proposals.c
    unflagged = sa.and_(columns.status == "pending", columns.similarity_type.is_(None))
    rows = connection.execute(
        sa.select(columns.id, columns[kind.label], columns[kind.detail]).where(which, unflagged).order_by(columns.id)
    ).all()
    similar_rows = finder.similar(connection, kind, [Candidate(row[1], row[2]) for row in rows])
    flags = [
        (row.id, similar.entity_id, similar.score, similar.type)
        for row, similar in zip(rows, similar_rows, strict=True)
        if similar
    ]
    if flags:
        flag = sa.values(
            sa.column("id", sa.UUID),
            sa.column("entity_id", sa.BigInteger),
            sa.column("score", sa.Double),
            sa.column("type", sa.Text),
            name="flag",
        ).data(flags)
        similar_columns = {
            kind.similar: flag.c.entity_id,
            columns.similarity_score: flag.c.score,
            columns.similarity_type: flag.c.type,
        }
        connection.execute(sa.update(kind.proposals).where(columns.id == flag.c.id, unflagged).values(similar_columns))
    return len(flags)
