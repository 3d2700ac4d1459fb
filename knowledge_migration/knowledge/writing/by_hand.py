"""The proposal of a row that a user wrote by hand: approved, and a copy of the row as it is.

So that every row has its origin, whoever made it, as soon as the flags record origins.
"""

from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from knowledge_migration.knowledge.kinds import ATOM, Kind
from knowledge_migration.knowledge.tables import topic_atoms
from knowledge_migration.knowledge.writing.proposing import link
from knowledge_migration.knowledge.writing.runs import RunOrigin, complete_run, open_run


def record_origin(connection: sa.Connection, kind: Kind, row_id: int, process: str, flag_version: int = 0) -> UUID:
    """Makes the approved proposal of an existing row and links the two, in the caller's transaction."""
    origin = RunOrigin("dual_write", process, flag_version, "by hand", (), None)
    run_id = open_run(connection, origin)
    proposal_id = uuid4()
    columns, entity = kind.proposals.c, kind.entities.c
    copied: dict[sa.Column[Any], sa.ColumnElement[Any]] = {columns[name]: entity[name] for name in kind.values}
    if kind is ATOM:
        copied[columns.meta] = sa.cast(entity.meta, columns.meta.type)
        topics = sa.select(sa.func.jsonb_agg(topic_atoms.c.topic_id)).where(topic_atoms.c.atom_id == row_id)
        copied[columns.proposed_topic_ids] = topics.scalar_subquery()
    values = {
        **copied,
        columns.id: sa.literal(proposal_id),
        columns.extraction_run_id: sa.literal(run_id),
        columns.status: sa.literal("approved"),
        columns.review_action: sa.literal("dual_write"),
        columns.reviewed_at: sa.func.now(),
        columns.review_notes: sa.literal("Written by hand"),
        columns.entity_id: entity.id,
    }
    connection.execute(
        sa.insert(kind.proposals).from_select(
            [column.name for column in values], sa.select(*values.values()).where(entity.id == row_id)
        )
    )
    link(connection, kind, row_id, proposal_id)
    complete_run(connection, run_id, origin, {f"{kind.name}_proposals": 1})
    return proposal_id
