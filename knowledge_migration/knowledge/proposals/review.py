"""What a reviewer decides about a proposal: approve, reject, merge, undo (strategy §9.2). Each in the caller's transaction.

Everybody locks the run first and the proposal second, so two reviewers of one extraction take turns and never deadlock.
Doing again what is done already changes nothing; what the state does not allow raises `ConflictError`. Each decision is
in the audit log with its reviewer.

An approval makes exactly one row, or stands for the one that exists: a topic of exactly that name, an atom of exactly
that type, title and content. A reviewer may correct the proposal with it: proposal and row then hold the corrected
values, the audit log the proposed ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, KINDS, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.proposals.editing import NO_EDIT, Edit, edit_of, proposed_again
from knowledge_migration.knowledge.proposals.relations import (
    Related,
    relate_atom,
    relate_topic,
    standing_topics,
    unrelate,
)
from knowledge_migration.knowledge.tables import (
    atom_links,
    audit_log,
    knowledge_extraction_runs,
    messages,
    topic_atoms,
    users,
)

Action = Literal["approve", "reject", "merge", "undo"]

DECIDABLE = ("pending", "parked", "withdrawn")


@dataclass(frozen=True)
class Reviewer:
    """Who decides: a name for the audit log, the user if known, and why."""

    actor: str
    user_id: int | None = None
    notes: str | None = None


@dataclass(frozen=True)
class Decision:
    """What became of a proposal; `changed` is False when it was so already. `audit_id` is the decision's entry in the log."""

    proposal_id: UUID
    kind: EntityKind
    status: str
    entity_id: int | None
    changed: bool
    audit_id: int | None = field(default=None, compare=False)


def approve(
    connection: sa.Connection,
    proposal_id: UUID,
    reviewer: Reviewer,
    *,
    changes: Mapping[str, Any] | None = None,
    status: Literal["approved", "auto_approved"] = "approved",
    action: Literal["approve", "auto_approve", "replay"] | None = None,
    still_wanted: Callable[[sa.RowMapping], bool] | None = None,
) -> Decision:
    """Makes the proposal knowledge. With `still_wanted` the locked proposal is asked first, and left as it is if not.

    With `changes`, values by name, the proposal is corrected first; raises `InvalidError` for what cannot be. One that
    was approved already is not corrected.
    """
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] in APPROVED:
        return _as_it_is(connection, kind, proposal)
    _refuse_decided(proposal, "approved")
    if still_wanted and not still_wanted(proposal):
        return _as_it_is(connection, kind, proposal)
    edit = edit_of(kind, proposal, changes) if changes else NO_EDIT
    values = {name: proposal[name] for name in kind.values} | edit.values
    entity_id, created = _make(connection, kind, proposal_id, values, by_a_person=status == "approved")
    action = action or ("approve" if status == "approved" else "auto_approve")
    match = {} if created else {kind.similar.name: entity_id, "similarity_score": 1.0, "similarity_type": "exact"}
    decided = {"status": status, "entity_id": entity_id if created else None, **match}
    _decide(connection, kind, proposal, reviewer, action, **decided, **edit.values)
    related = _relate(connection, kind, proposal, entity_id)
    after = {"status": status, "entity_id": entity_id, **related.as_json}
    audit_id = _audit(connection, kind, proposal, reviewer, action, after, edit=edit)
    return Decision(proposal_id, kind, status, entity_id, True, audit_id)


def reject(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer) -> Decision:
    """Says that the proposal is no knowledge; it stays on record."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] == "rejected":
        return _as_it_is(connection, kind, proposal)
    _refuse_decided(proposal, "rejected")
    _decide(connection, kind, proposal, reviewer, "reject", status="rejected")
    audit_id = _audit(connection, kind, proposal, reviewer, "reject", {"status": "rejected"})
    return Decision(proposal_id, kind, "rejected", None, True, audit_id)


def park(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer) -> Decision:
    """Takes a pending proposal out of the queue without deciding about it; a reviewer can decide later."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] == "parked":
        return _as_it_is(connection, kind, proposal)
    if proposal["status"] != "pending":
        raise ConflictError(
            f"Proposal {proposal_id} is {proposal['status'].replace('_', ' ')}; only pending ones are parked."
        )
    _decide(connection, kind, proposal, reviewer, "park", status="parked")
    _audit(connection, kind, proposal, reviewer, "park", {"status": "parked"})
    return Decision(proposal_id, kind, "parked", None, True)


def merge(connection: sa.Connection, proposal_id: UUID, into_entity_id: int, reviewer: Reviewer) -> Decision:
    """Says that an existing topic or atom is meant; that row keeps its values and takes over the relations."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] == "merged" and proposal[kind.similar.name] == into_entity_id:
        return _as_it_is(connection, kind, proposal)
    _refuse_decided(proposal, "merged")
    target = (
        sa.select(kind.entities.c.id)
        .where(kind.entities.c.id == into_entity_id)
        .with_for_update(key_share=True, read=True)
    )
    if connection.execute(target).one_or_none() is None:
        raise UnknownError(f"There is no {kind.name} {into_entity_id} to merge the proposal into.")
    similar: dict[str, Any] = {kind.similar.name: into_entity_id}
    if proposal[kind.similar.name] != into_entity_id:  # score and type spoke of another row
        similar |= {"similarity_score": None, "similarity_type": None}
    _decide(connection, kind, proposal, reviewer, "merge", status="merged", **similar)
    related = _relate(connection, kind, proposal, into_entity_id)
    after = {"status": "merged", "entity_id": into_entity_id, **related.as_json}
    audit_id = _audit(connection, kind, proposal, reviewer, "merge", after)
    return Decision(proposal_id, kind, "merged", into_entity_id, True, audit_id)


def undo(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer, *, audit_id: int | None = None) -> Decision:
    """Takes a decision back.

    A rejection, a merge and an approval that matched an existing row: the proposal waits for review again, and the
    relations that were made are removed. An approval that made a row: the row is withdrawn if nothing else refers to it,
    else it gets the proposal's values back. A row that was there before the proposals is never withdrawn.
    An approved proposal that stands for no row any more gets back what a reviewer had corrected of it.
    With `audit_id` that very decision is meant: raises `ConflictError` where a later one was made.
    """
    kind, proposal = locked(connection, proposal_id, reviewer)
    if audit_id is not None:
        _refuse_later(connection, kind, proposal_id, audit_id)
    status = proposal["status"]
    if status in DECIDABLE:
        return _as_it_is(connection, kind, proposal)
    own = _own_entity(connection, kind, proposal_id)
    if status in APPROVED and own is not None:
        return _undo_approval(connection, kind, proposal, reviewer, own)
    if proposal["confidence"] is None or _was_there_before(proposal):
        raise ConflictError(f"The {kind.name} of this proposal was deleted by a user; there is nothing to take back.")
    stood_for = _as_it_is(connection, kind, proposal).entity_id
    matched = status in APPROVED or (status == "merged" and proposal["similarity_type"] is None)
    forgotten = {kind.similar.name: None, "similarity_score": None, "similarity_type": None} if matched else {}
    edit = proposed_again(connection, kind, proposal) if status in APPROVED else NO_EDIT
    _decide(connection, kind, proposal, reviewer, "undo", status="pending", entity_id=None, **forgotten, **edit.values)
    taken = Related() if stood_for is None else unrelate(connection, kind, proposal["extraction_run_id"], stood_for)
    after = {"status": "pending", "taken_back": taken.as_json}
    _audit(connection, kind, proposal, reviewer, "undo", after, edit=edit)
    return Decision(proposal_id, kind, "pending", None, True)


def _undo_approval(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer, entity_id: int
) -> Decision:
    if _was_there_before(proposal) or _others_refer(connection, kind, proposal, entity_id):
        return _restore(connection, kind, proposal, reviewer, entity_id)
    edit = proposed_again(connection, kind, proposal)
    _decide(connection, kind, proposal, reviewer, "undo", status="withdrawn", entity_id=None, **edit.values)
    _withdraw(connection, kind, proposal, entity_id)
    after = {"status": "withdrawn", "withdrawn": entity_id}
    _audit(connection, kind, proposal, reviewer, "undo", after, edit=edit)
    return Decision(proposal["id"], kind, "withdrawn", None, True)


def _was_there_before(proposal: sa.RowMapping) -> bool:
    """Whether the proposal was made of a row: one of before the migration, or one that a user wrote by hand."""
    made = (proposal["status"], proposal["review_action"])
    return made in (("approved", "dual_write"), ("approved", "auto_approve_migration"))


def _restore(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, reviewer: Reviewer, entity_id: int
) -> Decision:
    """Gives the row the proposal's values back; the link and the state stay."""
    columns = [kind.entities.c[name] for name in kind.values]
    row = (
        connection.execute(sa.select(*columns).where(kind.entities.c.id == entity_id).with_for_update())
        .mappings()
        .one()
    )
    before, wanted = dict(row), {name: proposal[name] for name in kind.values}
    differing = {name: wanted[name] for name in kind.values if wanted[name] != before[name]}
    if differing:
        try:
            with connection.begin_nested():
                connection.execute(
                    sa.update(kind.entities)
                    .where(kind.entities.c.id == entity_id)
                    .values(**_with_nulls(differing), updated_at=sa.func.now())
                )
        except sa.exc.IntegrityError as error:
            if not isinstance(error.orig, psycopg.errors.UniqueViolation):
                raise
            raise ConflictError(
                f"Another {kind.name} has the name {wanted[kind.label]!r} now; rename it, then undo again."
            ) from error
        _audit(
            connection,
            kind,
            proposal,
            reviewer,
            "undo",
            {"restored": entity_id, "values": differing},
            before={name: before[name] for name in differing},
        )
    return Decision(proposal["id"], kind, proposal["status"], entity_id, bool(differing))


def _others_refer(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int) -> bool:
    """Whether anything but the approval's own relations refers to the row."""
    found = references(connection, kind, proposal, entity_id).values()
    return any(connection.execute(sa.select(sa.exists(query))).scalar_one() for query in found)


def references(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int
) -> dict[str, sa.Select[tuple[Any]]]:
    """What refers to the row of an approval beyond the approval's own relations: a query of ids for each kind of thing."""
    others = kind.proposals.c
    stands_for = sa.select(others.id).select_from(kind.joined)
    referring = {
        "proposal": stands_for.where(
            kind.similar == entity_id, kind.entity_of == entity_id, others.id != proposal["id"]
        )
    }
    if kind is TOPIC:
        return referring | {
            "atom": sa.select(topic_atoms.c.atom_id).where(topic_atoms.c.topic_id == entity_id),
            "message": sa.select(messages.c.id).where(
                messages.c.topic_id == entity_id, messages.c.id.not_in(proposal["message_ids"] or ())
            ),
        }
    own_topics = standing_topics(connection, proposal["proposed_topic_ids"] or ())
    return referring | {
        "atom": sa.select(atom_links.c.from_atom_id).where(atom_links.c.to_atom_id == entity_id),
        "topic": sa.select(topic_atoms.c.topic_id).where(
            topic_atoms.c.atom_id == entity_id, topic_atoms.c.topic_id.not_in(own_topics)
        ),
    }


def _withdraw(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int) -> None:
    if kind is TOPIC:
        unassigned = sa.update(messages).where(messages.c.topic_id == entity_id)
        connection.execute(unassigned.values(topic_id=None, updated_at=sa.func.now()))
    else:
        connection.execute(sa.delete(topic_atoms).where(topic_atoms.c.atom_id == entity_id))
        connection.execute(sa.delete(atom_links).where(atom_links.c.from_atom_id == entity_id))
    connection.execute(sa.delete(kind.entities).where(kind.entities.c.id == entity_id))


def locked(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer) -> tuple[EntityKind, sa.RowMapping]:
    """The proposal, with its run and itself locked; raises `UnknownError` when there is none of that id, or no such user."""
    if reviewer.user_id is not None:
        known = connection.execute(sa.select(users.c.id).where(users.c.id == reviewer.user_id)).one_or_none()
        if known is None:
            raise UnknownError(f"There is no user {reviewer.user_id} who could have reviewed this.")
    for kind in KINDS:
        columns = kind.proposals.c
        run = sa.select(columns.extraction_run_id).where(columns.id == proposal_id)
        run_id = connection.execute(run).scalar_one_or_none()
        if run_id is None:
            continue
        runs = knowledge_extraction_runs.c
        connection.execute(sa.select(runs.id).where(runs.id == run_id).with_for_update(key_share=True))
        proposal = connection.execute(sa.select(kind.proposals).where(columns.id == proposal_id).with_for_update())
        row = proposal.mappings().one_or_none()
        if row is not None:
            return kind, row
    raise UnknownError(f"There is no proposal {proposal_id}.")


def _refuse_decided(proposal: sa.RowMapping, wanted: str) -> None:
    if proposal["status"] not in DECIDABLE:
        raise ConflictError(
            f"Proposal {proposal['id']} is {proposal['status'].replace('_', ' ')} and cannot be {wanted}; undo that first."
        )


def _refuse_later(connection: sa.Connection, kind: EntityKind, proposal_id: UUID, audit_id: int) -> None:
    entry = audit_log.c
    later = sa.select(entry.actor).where(
        entry.subject == audit.proposal_subject(kind, proposal_id),
        entry.action.in_(audit.DECISIONS),
        entry.id > audit_id,
    )
    found = connection.execute(later.order_by(entry.id.desc()).limit(1)).one_or_none()
    if found is not None:
        raise ConflictError(
            f"The proposal was decided about since, by {found.actor}; that decision stays. It is in the history."
        )


def _as_it_is(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping) -> Decision:
    entity = sa.select(kind.entity_of).select_from(kind.joined).where(kind.proposals.c.id == proposal["id"])
    return Decision(proposal["id"], kind, proposal["status"], connection.execute(entity).scalar_one(), False)


def _own_entity(connection: sa.Connection, kind: EntityKind, proposal_id: UUID) -> int | None:
    columns = kind.entities.c
    own = sa.select(columns.id).where(columns.migrated_from_proposal_id == proposal_id).with_for_update()
    return connection.execute(own).scalar_one_or_none()


def _make(
    connection: sa.Connection, kind: EntityKind, proposal_id: UUID, values: dict[str, Any], *, by_a_person: bool
) -> tuple[int, bool]:
    """The row of a proposal of these values, and whether it is new."""
    origin = {"migrated_from_proposal_id": proposal_id, "migration_timestamp": sa.func.now()}
    row = _with_nulls(values) | origin
    if kind is TOPIC:
        return _make_topic(connection, row)
    return _make_atom(connection, row | {"user_approved": by_a_person})


def _with_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """NULL for None: of None a JSON column makes its null."""
    return {name: sa.null() if value is None else value for name, value in values.items()}


def _make_topic(connection: sa.Connection, values: dict[str, Any]) -> tuple[int, bool]:
    columns = TOPIC.entities.c
    new = insert(TOPIC.entities).values(values).on_conflict_do_nothing(index_elements=["name"]).returning(columns.id)
    while True:  # somebody may delete the existing one between the two statements
        made = connection.execute(new).scalar_one_or_none()
        if made is not None:
            return made, True
        existing = (
            sa.select(columns.id).where(columns.name == values["name"]).with_for_update(key_share=True, read=True)
        )
        found = connection.execute(existing).scalar_one_or_none()
        if found is not None:
            return found, False


def _make_atom(connection: sa.Connection, values: dict[str, Any]) -> tuple[int, bool]:
    """Titles are not unique, so an advisory lock makes two approvals of one text take turns."""
    columns = ATOM.entities.c
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(values["title"], 0))))
    same = sa.select(columns.id).where(
        columns.title == values["title"], columns.content == values["content"], columns.type == values["type"]
    )
    found = connection.execute(
        same.order_by(columns.id).limit(1).with_for_update(key_share=True, read=True)
    ).scalar_one_or_none()
    if found is not None:
        return found, False
    made: int = connection.execute(sa.insert(ATOM.entities).values(values).returning(columns.id)).scalar_one()
    return made, True


def _relate(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int) -> Related:
    return (relate_topic if kind is TOPIC else relate_atom)(connection, proposal, entity_id)


def _decide(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    reviewer: Reviewer,
    action: str,
    **values: Any,
) -> None:
    connection.execute(
        sa.update(kind.proposals)
        .where(kind.proposals.c.id == proposal["id"])
        .values(
            review_action=action,
            reviewed_at=sa.func.now(),
            reviewed_by_user_id=reviewer.user_id,
            review_notes=reviewer.notes,
            **values,
        )
    )


def _audit(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    reviewer: Reviewer,
    action: str,
    after: dict[str, Any],
    before: dict[str, Any] | None = None,
    edit: Edit = NO_EDIT,
) -> int:
    """One entry, and its id; `values` in it are those of the proposal that were replaced with the decision, if any."""
    was, became = ({"values": values} if values else {} for values in (edit.was, edit.values))
    entry = audit.entry(
        audit.decision_action(action),
        audit.proposal_subject(kind, proposal["id"]),
        actor=audit.reviewer_actor(reviewer.actor, reviewer.user_id),
        reason=reviewer.notes,
        before={"status": proposal["status"], **(before or {}), **was},
        after=after | became,
    )
    return int(connection.execute(entry.returning(audit_log.c.id)).scalar_one())
