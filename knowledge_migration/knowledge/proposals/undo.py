"""Undoes a decision about a proposal, in the caller's transaction.

Without a row of its own, the proposal is pending again and its relations are removed. A row that the approval created is
withdrawn if nothing else refers to it, else it gets the proposal's values back; a row that existed before is never withdrawn.
"""

from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError
from knowledge_migration.knowledge.proposals.editing import NO_EDIT, proposed_again
from knowledge_migration.knowledge.proposals.relations import Related, existing_topics, unrelate
from knowledge_migration.knowledge.proposals.review import (
    DECIDABLE,
    Decision,
    Reviewer,
    audit_decision,
    locked,
    nulls,
    store_decision,
    unchanged,
)
from knowledge_migration.knowledge.tables import atom_links, audit_log, messages, topic_atoms


def undo(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer, *, audit_id: int | None = None) -> Decision:
    """Undoes the last decision; with `audit_id` exactly that one: raises `ConflictError` where a later one exists."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if audit_id is not None:
        _refuse_later(connection, kind, proposal_id, audit_id)
    status = proposal["status"]
    if status in DECIDABLE:
        return unchanged(connection, kind, proposal)
    columns = kind.entities.c
    own = sa.select(columns.id).where(columns.migrated_from_proposal_id == proposal_id).with_for_update()
    own_id = connection.execute(own).scalar_one_or_none()
    if status in APPROVED and own_id is not None:
        if _existed_before(proposal) or _others_refer(connection, kind, proposal, own_id):
            return _restore(connection, kind, proposal, reviewer, own_id)
        return _withdraw(connection, kind, proposal, reviewer, own_id)
    if proposal["confidence"] is None or _existed_before(proposal):
        raise ConflictError(f"The {kind.name} of this proposal was deleted by a user; there is nothing to undo.")
    return _return_to_review(connection, kind, proposal, reviewer)


def references(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int
) -> dict[str, sa.Select[tuple[Any]]]:
    """What refers to the row of an approval beyond the approval's own relations: a query of ids by kind of object."""
    others = kind.proposals.c
    same_row = sa.and_(kind.similar == entity_id, kind.entity_of == entity_id, others.id != proposal["id"])
    referring = {"proposal": sa.select(others.id).select_from(kind.joined).where(same_row)}
    if kind is TOPIC:
        own_messages = messages.c.id.in_(proposal["message_ids"] or ())
        return referring | {
            "atom": sa.select(topic_atoms.c.atom_id).where(topic_atoms.c.topic_id == entity_id),
            "message": sa.select(messages.c.id).where(messages.c.topic_id == entity_id, ~own_messages),
        }
    own_topics = existing_topics(connection, proposal["proposed_topic_ids"] or ())
    return referring | {
        "atom": sa.select(atom_links.c.from_atom_id).where(atom_links.c.to_atom_id == entity_id),
        "topic": sa.select(topic_atoms.c.topic_id).where(
            topic_atoms.c.atom_id == entity_id, topic_atoms.c.topic_id.not_in(own_topics)
        ),
    }


def _refuse_later(connection: sa.Connection, kind: EntityKind, proposal_id: UUID, audit_id: int) -> None:
    entry = audit_log.c
    later = sa.select(entry.actor).where(
        entry.subject == audit.proposal_subject(kind, proposal_id),
        entry.action.in_(audit.DECISIONS),
        entry.id > audit_id,
    )
    last = connection.execute(later.order_by(entry.id.desc()).limit(1)).one_or_none()
    if last is not None:
        raise ConflictError(
            f"The proposal was decided about since, by {last.actor}; that decision stays. It is in the history."
        )


def _return_to_review(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer
) -> Decision:
    status, entity_id = proposal["status"], unchanged(connection, kind, proposal).entity_id
    columns: dict[str, Any] = {"status": "pending", "entity_id": None}
    if status in APPROVED or (status == "merged" and proposal["similarity_type"] is None):
        columns |= {kind.similar.name: None, "similarity_score": None, "similarity_type": None}
    edit = proposed_again(connection, kind, proposal) if status in APPROVED else NO_EDIT
    store_decision(connection, kind, proposal, reviewer, "undo", columns | edit.values)
    removed = Related() if entity_id is None else unrelate(connection, kind, proposal["extraction_run_id"], entity_id)
    after = {"status": "pending", "taken_back": removed.as_json}
    audit_decision(connection, kind, proposal, reviewer, "undo", after, edit=edit)
    return Decision(proposal["id"], kind, "pending", None, True)


def _withdraw(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer, entity_id: int
) -> Decision:
    edit = proposed_again(connection, kind, proposal)
    columns = {"status": "withdrawn", "entity_id": None}
    store_decision(connection, kind, proposal, reviewer, "undo", columns | edit.values)
    if kind is TOPIC:
        unassigned = sa.update(messages).where(messages.c.topic_id == entity_id)
        connection.execute(unassigned.values(topic_id=None, updated_at=sa.func.now()))
    else:
        connection.execute(sa.delete(topic_atoms).where(topic_atoms.c.atom_id == entity_id))
        connection.execute(sa.delete(atom_links).where(atom_links.c.from_atom_id == entity_id))
    connection.execute(sa.delete(kind.entities).where(kind.entities.c.id == entity_id))
    after = {"status": "withdrawn", "withdrawn": entity_id}
    audit_decision(connection, kind, proposal, reviewer, "undo", after, edit=edit)
    return Decision(proposal["id"], kind, "withdrawn", None, True)


def _existed_before(proposal: sa.RowMapping) -> bool:
    """Whether the proposal was created from a row: one of before the migration, or one that a user wrote."""
    return proposal["status"] == "approved" and proposal["review_action"] in ("dual_write", "auto_approve_migration")


def _restore(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer, entity_id: int
) -> Decision:
    """Gives the row the proposal's values back; the link and the state stay."""
    query = sa.select(*(kind.entities.c[name] for name in kind.values)).where(kind.entities.c.id == entity_id)
    row = connection.execute(query.with_for_update()).mappings().one()
    differing = {name: proposal[name] for name in kind.values if proposal[name] != row[name]}
    if differing:
        restored = sa.update(kind.entities).where(kind.entities.c.id == entity_id)
        try:
            with connection.begin_nested():
                connection.execute(restored.values(**nulls(differing), updated_at=sa.func.now()))
        except sa.exc.IntegrityError as error:
            if not isinstance(error.orig, psycopg.errors.UniqueViolation):
                raise
            raise ConflictError(
                f"Another {kind.name} has the name {proposal[kind.label]!r} now; rename it, then undo again."
            ) from error
        before = {name: row[name] for name in differing}
        after = {"restored": entity_id, "values": differing}
        audit_decision(connection, kind, proposal, reviewer, "undo", after, before=before)
    return Decision(proposal["id"], kind, proposal["status"], entity_id, bool(differing))


def _others_refer(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int) -> bool:
    """Whether anything but the approval's own relations refers to the row."""
    queries = references(connection, kind, proposal, entity_id).values()
    return any(connection.execute(sa.select(sa.exists(query))).scalar_one() for query in queries)
