"""The proposal of a row that a user wrote: approved, and a copy of the row, so that every row has its origin.

Beside direct writes the proposal is created after the row, in the shadow. Once the old paths are retired, one statement
writes both.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import ATOM, EntityKind
from knowledge_migration.knowledge.flags import Mode
from knowledge_migration.knowledge.tables import topic_atoms
from knowledge_migration.knowledge.writing.proposing import link
from knowledge_migration.knowledge.writing.runs import RunOrigin, complete_run, open_run

_TOPIC_IDS = ATOM.proposals.c.proposed_topic_ids.type


def record_origin(
    connection: sa.Connection, kind: EntityKind, entity_id: int, process: str, flag_version: int = 0
) -> UUID:
    """Creates the approved proposal of an existing row and links the two, in the caller's transaction."""
    run_id, proposal_id = _completed_run(connection, "dual_write", kind, process, flag_version), uuid4()
    topics = sa.select(sa.func.jsonb_agg(topic_atoms.c.topic_id)).where(topic_atoms.c.atom_id == entity_id)
    values = _copy(kind, kind.entities, proposal_id, run_id, topics.scalar_subquery())
    row = sa.select(*values.values()).where(kind.entities.c.id == entity_id)
    connection.execute(sa.insert(kind.proposals).from_select([column.name for column in values], row))
    link(connection, kind, entity_id, proposal_id)
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

    One statement, because the references between the two are checked at its end.
    """
    run_id, proposal_id = _completed_run(connection, "proposal", kind, process, flag_version), uuid4()
    linked = {**values, "migrated_from_proposal_id": proposal_id, "migration_timestamp": sa.func.now()}
    row = sa.insert(kind.entities).values(linked).returning(*kind.entities.c).cte("written_row")
    copy = _copy(kind, row, proposal_id, run_id, sa.literal(list(topic_ids) or None, _TOPIC_IDS))
    written = sa.insert(kind.proposals).from_select(
        [column.name for column in copy], sa.select(*copy.values()), include_defaults=False
    )
    entity_id: int = connection.execute(written.returning(kind.proposals.c.entity_id)).scalar_one()
    return entity_id


def _completed_run(connection: sa.Connection, mode: Mode, kind: EntityKind, process: str, flag_version: int) -> UUID:
    origin = RunOrigin(mode, process, flag_version, "by hand", (), None)
    run_id = open_run(connection, origin)
    complete_run(connection, run_id, origin, {f"{kind.name}_proposals": 1})
    return run_id


def _copy(
    kind: EntityKind, source: sa.FromClause, proposal_id: UUID, run_id: UUID, topic_ids: sa.ColumnElement[Any]
) -> dict[sa.Column[Any], sa.ColumnElement[Any]]:
    """The values of the proposal of a row, by column."""
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
