"""Undoes a decision about a proposal, in the caller's transaction: the proposal is pending again, for a reviewer only.

The row that the approval created is removed with the relations that it created; the audit log keeps every removed value. An
undo refuses to remove a row that somebody has changed or referred to since, and one that existed before its proposal.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError
from knowledge_migration.knowledge.proposals.editing import NO_EDIT, proposed_again
from knowledge_migration.knowledge.proposals.kept_rows import since_approval
from knowledge_migration.knowledge.proposals.relations import Related, remove, row_as_json, unrelate
from knowledge_migration.knowledge.proposals.review import (
    DECIDABLE,
    Decision,
    Reviewer,
    audit_decision,
    locked,
    replaced,
    store_decision,
    unchanged,
)
from knowledge_migration.knowledge.tables import audit_log

OWN_ROLLBACK = {"auto_approve_migration": "rollback backfill", "dual_write": "rollback dual-write"}
"""The command that removes the proposals that were created from a row, by review action."""


class RowKeptError(ConflictError):
    """The row of an approval stays, and so does the approval; `why` says what somebody has done with the row since."""

    def __init__(self, kind: EntityKind, entity_id: int, why: str) -> None:
        super().__init__(
            f"{kind.name.capitalize()} {entity_id} stays: {why}. Nothing was undone. To remove the {kind.name} nevertheless, "
            "give it the values of the proposal again, undo or remove what refers to it, then undo again."
        )
        self.why = why


def undo(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer, *, audit_id: int | None = None) -> Decision:
    """Undoes the last decision; raises `ConflictError` where the row must stay.

    With `audit_id` it undoes exactly that decision, and raises `ConflictError` where a later one exists.
    """
    kind, proposal = locked(connection, proposal_id, reviewer)
    if audit_id is not None:
        _refuse_later(connection, kind, proposal_id, audit_id)
    if proposal["status"] in DECIDABLE:
        return unchanged(connection, kind, proposal)
    columns = kind.entities.c
    query = sa.select(columns.id).where(columns.migrated_from_proposal_id == proposal_id).with_for_update()
    own_id = connection.execute(query).scalar_one_or_none()
    if proposal["status"] not in APPROVED:
        own_id = None
    _refuse_copy(kind, proposal, own_id)
    if own_id is None:
        return _return_to_review(connection, kind, proposal, reviewer)
    return _remove_row(connection, kind, proposal, reviewer, own_id)


def existed_before(proposal: sa.RowMapping) -> bool:
    """Whether the proposal was created from a row: one of before the migration, or one that a user wrote."""
    return proposal["status"] == "approved" and proposal["review_action"] in OWN_ROLLBACK


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


def _refuse_copy(kind: EntityKind, proposal: sa.RowMapping, own_id: int | None) -> None:
    """A proposal that copies a row never was a suggestion: there is no approval to undo."""
    if proposal["confidence"] is not None and not existed_before(proposal):
        return
    if own_id is None:
        raise ConflictError(f"The {kind.name} of this proposal was deleted by a user; there is nothing to undo.")
    raise ConflictError(
        f"{kind.name.capitalize()} {own_id} existed before this proposal, which is a copy of it; there is no approval to "
        f"undo. Change the {kind.name} itself; `knowledge-migration {OWN_ROLLBACK[proposal['review_action']]}` removes "
        "such proposals and keeps the rows."
    )


def _return_to_review(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer
) -> Decision:
    """For a decision without a row of its own: a rejection, a merge, a match, or an approval whose row a user deleted."""
    status, entity_id = proposal["status"], unchanged(connection, kind, proposal).entity_id
    columns: dict[str, Any] = {"status": "pending", "entity_id": None}
    if status in APPROVED or (status == "merged" and proposal["similarity_type"] is None):
        columns |= {kind.similar.name: None, "similarity_score": None, "similarity_type": None}
    edit = proposed_again(connection, kind, proposal) if status in APPROVED else NO_EDIT
    store_decision(connection, kind, proposal, reviewer, "undo", columns | edit.values)
    removed, rows = Related(), dict[str, Any]()
    if entity_id is not None:
        removed, rows = unrelate(connection, kind, proposal["extraction_run_id"], entity_id)
    before = replaced(proposal, columns) | ({"removed": rows} if rows else {})
    after = {"status": "pending", "taken_back": removed.as_json}
    audit_decision(connection, kind, proposal, reviewer, "undo", after, before=before, edit=edit)
    return Decision(proposal["id"], kind, "pending", None, True)


def _remove_row(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer, entity_id: int
) -> Decision:
    since = since_approval(connection, kind, proposal, entity_id)
    if since.why:
        raise RowKeptError(kind, entity_id, since.why)
    edit = proposed_again(connection, kind, proposal)
    renamed = _name_by_proposal(connection, proposal, entity_id) if kind is TOPIC else []
    store_decision(connection, kind, proposal, reviewer, "undo", {"status": "pending", "entity_id": None} | edit.values)
    removed, rows = remove(connection, since.own)
    deleted = sa.delete(kind.entities).where(kind.entities.c.id == entity_id).returning(row_as_json(kind.entities))
    rows[kind.table] = [connection.execute(deleted).scalar_one()]
    after = {"status": "pending", "removed": entity_id, "taken_back": removed.as_json}
    if renamed:
        after["named_by_proposal_in"] = renamed
    audit_decision(connection, kind, proposal, reviewer, "undo", after, before={"removed": rows}, edit=edit)
    return Decision(proposal["id"], kind, "pending", None, True)


def _name_by_proposal(connection: sa.Connection, proposal: sa.RowMapping, topic_id: int) -> list[str]:
    """Replaces the number of a topic by its proposal in atoms that wait, so that they find the topic approved again.

    Skips a proposal that somebody decides at this moment: waiting for it could deadlock. The queue's index limits the scan.
    """
    columns = ATOM.proposals.c
    waiting = sa.and_(columns.status.in_(DECIDABLE), columns.proposed_topic_ids.contains([topic_id]))
    query = sa.select(columns.id, columns.proposed_topic_ids).where(waiting).order_by(columns.id)
    atoms = connection.execute(query.with_for_update(skip_locked=True)).all()
    for atom_id, references in atoms:
        named = [str(proposal["id"]) if reference == topic_id else reference for reference in references]
        connection.execute(sa.update(ATOM.proposals).where(columns.id == atom_id).values(proposed_topic_ids=named))
    return [str(atom_id) for atom_id, _ in atoms]
