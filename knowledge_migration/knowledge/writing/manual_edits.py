"""The proposal of a row that a user wrote by hand: approved, and a copy of the row as it is.

So that every row has its origin, whoever made it, as soon as the flags record origins. Beside a direct write it is made
afterwards, in the shadow; once the old paths are retired, row and proposal are one statement, and neither is without the
other.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import ATOM, EntityKind
from knowledge_migration.knowledge.tables import topic_atoms
from knowledge_migration.knowledge.writing.proposing import link
from knowledge_migration.knowledge.writing.runs import RunOrigin, complete_run, open_run


def record_origin(
    connection: sa.Connection, kind: EntityKind, row_id: int, process: str, flag_version: int = 0
) -> UUID:
    """Makes the approved proposal of an existing row and links the two, in the caller's transaction."""
    origin = RunOrigin("dual_write", process, flag_version, "by hand", (), None)
    run_id = open_run(connection, origin)
    proposal_id = uuid4()
    topics = sa.select(sa.func.jsonb_agg(topic_atoms.c.topic_id)).where(topic_atoms.c.atom_id == row_id)
    values = _copy(kind, kind.entities, proposal_id, run_id, topics.scalar_subquery())
    connection.execute(
        sa.insert(kind.proposals).from_select(
            [column.name for column in values], sa.select(*values.values()).where(kind.entities.c.id == row_id)
        )
    )
    link(connection, kind, row_id, proposal_id)
    complete_run(connection, run_id, origin, {f"{kind.name}_proposals": 1})
    return proposal_id


def create_with_origin(
    connection: sa.Connection,
    kind: EntityKind,
    values: Mapping[str, Any],
    process: str,
    flag_version: int,
    topic_ids: Sequence[int] = (),
) -> int:
    """Writes a new row together with its approved proposal, in the caller's transaction; returns the row's id.

    The reference of the one to the other is checked at the end of the statement, when both are there.
    """
    origin = RunOrigin("proposal", process, flag_version, "by hand", (), None)
    run_id = open_run(connection, origin)
    proposal_id = uuid4()
    linked = {**values, "migrated_from_proposal_id": proposal_id, "migration_timestamp": sa.func.now()}
    made = sa.insert(kind.entities).values(linked).returning(*kind.entities.c).cte("made")
    proposed = _copy(kind, made, proposal_id, run_id, sa.literal(list(topic_ids) or None, _TOPIC_IDS))
    written = sa.insert(kind.proposals).from_select(
        [column.name for column in proposed], sa.select(*proposed.values()), include_defaults=False
    )
    row_id: int = connection.execute(written.returning(kind.proposals.c.entity_id)).scalar_one()
    complete_run(connection, run_id, origin, {f"{kind.name}_proposals": 1})
    return row_id


_TOPIC_IDS = ATOM.proposals.c.proposed_topic_ids.type


def _copy(
    kind: EntityKind,
    source: sa.FromClause,
    proposal_id: UUID,
    run_id: UUID,
    topic_ids: sa.ColumnElement[Any],
) -> dict[sa.Column[Any], sa.ColumnElement[Any]]:
    """What the proposal of a row holds, by column."""
    columns, row = kind.proposals.c, source.c
    copied: dict[sa.Column[Any], sa.ColumnElement[Any]] = {columns[name]: row[name] for name in kind.values}
    if kind is ATOM:
        copied[columns.meta] = sa.cast(row.meta, columns.meta.type)
        copied[columns.proposed_topic_ids] = topic_ids
    return {
        **copied,
        columns.id: sa.literal(proposal_id),
        columns.extraction_run_id: sa.literal(run_id),
        columns.status: sa.literal("approved"),
        columns.review_action: sa.literal("dual_write"),
        columns.reviewed_at: sa.func.now(),
        columns.review_notes: sa.literal("Written by hand"),
        columns.entity_id: row.id,
    }
