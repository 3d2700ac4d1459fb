"""The decisions of a reviewer: approve, reject, park, merge (strategy §9.2), in the caller's transaction; `undo` reverts them.

Each locks the run, then the proposal, so two reviewers wait and never deadlock. A repeated decision changes nothing; one that
the state does not allow raises `ConflictError`. An approval creates one row, or matches a topic by name, an atom by its texts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, KINDS, TOPIC, EntityKind, EntityName
from knowledge_migration.knowledge.errors import ConflictError, KnowledgeError, UnknownError
from knowledge_migration.knowledge.proposals.editing import NO_EDIT, Edit, edit_of
from knowledge_migration.knowledge.proposals.relations import relate_atom, relate_topic
from knowledge_migration.knowledge.tables import audit_log, knowledge_extraction_runs, users

DECIDABLE = ("pending", "parked", "withdrawn")
"""The states that a decision can change. Only earlier versions wrote "withdrawn": their undo left the queue."""

Effect = Literal["creates", "matches", "joins", "is decided", "is gone"]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Reviewer:
    """Who decides: a name for the audit log, the user if known, and the reason."""

    actor: str
    user_id: int | None = None
    notes: str | None = None


@dataclass(frozen=True)
class Decision:
    """The state after a decision; `changed` is False if nothing changed. `audit_id` is the decision's entry in the log."""

    proposal_id: UUID
    kind: EntityKind
    status: str
    entity_id: int | None
    changed: bool
    audit_id: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Foreseen:
    """The effect of an approval: it creates a row, matches row `entity_id`, or joins another proposal of the selection."""

    proposal_id: UUID
    entity_type: EntityName | None
    label: str | None
    confidence: float | None
    effect: Effect
    entity_id: int | None = None
    status: str | None = None
    similar_entity_id: int | None = None


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
    """Approves the proposal; with `still_wanted`, only if that is true of the locked proposal.

    `changes`, values by name, correct the proposal first; raises `InvalidError` for values that cannot be corrected. A
    proposal that is approved already is not corrected.
    """
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] in APPROVED:
        return unchanged(connection, kind, proposal)
    _refuse_decided(proposal, "approved")
    if still_wanted and not still_wanted(proposal):
        return unchanged(connection, kind, proposal)
    edit = edit_of(kind, proposal, changes) if changes else NO_EDIT
    values = {name: proposal[name] for name in kind.values} | edit.values
    entity_id, created = _create_or_match(connection, kind, proposal_id, values, by_a_person=status == "approved")
    columns: dict[str, Any] = {"status": status, "entity_id": entity_id if created else None}
    if not created:
        columns |= {kind.similar.name: entity_id, "similarity_score": 1.0, "similarity_type": "exact"}
    action = action or ("approve" if status == "approved" else "auto_approve")
    return _conclude(connection, kind, proposal, reviewer, action, columns, entity_id, edit)


def reject(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer) -> Decision:
    """Rejects the proposal, which stays on record."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] == "rejected":
        return unchanged(connection, kind, proposal)
    _refuse_decided(proposal, "rejected")
    return _conclude(connection, kind, proposal, reviewer, "reject", {"status": "rejected"})


def park(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer) -> Decision:
    """Takes a pending proposal out of the queue without deciding about it; a reviewer can decide later."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] == "parked":
        return unchanged(connection, kind, proposal)
    if proposal["status"] != "pending":
        status = proposal["status"].replace("_", " ")
        raise ConflictError(f"Proposal {proposal_id} is {status}; only pending ones are parked.")
    return _conclude(connection, kind, proposal, reviewer, "park", {"status": "parked"})


def merge(connection: sa.Connection, proposal_id: UUID, into_entity_id: int, reviewer: Reviewer) -> Decision:
    """Merges the proposal into an existing row, which keeps its values and takes over the relations."""
    kind, proposal = locked(connection, proposal_id, reviewer)
    if proposal["status"] == "merged" and proposal[kind.similar.name] == into_entity_id:
        return unchanged(connection, kind, proposal)
    _refuse_decided(proposal, "merged")
    target = sa.select(kind.entities.c.id).where(kind.entities.c.id == into_entity_id)
    if connection.execute(target.with_for_update(key_share=True, read=True)).one_or_none() is None:
        raise UnknownError(f"There is no {kind.name} {into_entity_id} to merge the proposal into.")
    columns: dict[str, Any] = {"status": "merged", kind.similar.name: into_entity_id}
    if proposal[kind.similar.name] != into_entity_id:  # score and type are those of another row
        columns |= {"similarity_score": None, "similarity_type": None}
    return _conclude(connection, kind, proposal, reviewer, "merge", columns, into_entity_id)


def locked(connection: sa.Connection, proposal_id: UUID, reviewer: Reviewer) -> tuple[EntityKind, sa.RowMapping]:
    """The proposal, with its run and itself locked; raises `UnknownError` where the proposal or the user does not exist."""
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
        query = sa.select(kind.proposals).where(columns.id == proposal_id).with_for_update()
        proposal = connection.execute(query).mappings().one_or_none()
        if proposal is not None:
            return kind, proposal
    raise UnknownError(f"There is no proposal {proposal_id}.")


def one_by_one(
    engine: sa.Engine, items: Iterable[T], work: Callable[[sa.Connection, T], R], left: Callable[[T, KnowledgeError], R]
) -> Iterator[R]:
    """Does the work for each item in its own transaction; `left` gives the result where the state does not allow it.

    Killed anywhere, a second run does the rest.
    """
    with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        for item in items:
            try:
                with connection.begin():
                    result = work(connection, item)
            except (ConflictError, UnknownError) as error:
                result = left(item, error)
            yield result


def unchanged(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping) -> Decision:
    """The decision that changes nothing."""
    entity = sa.select(kind.entity_of).select_from(kind.joined).where(kind.proposals.c.id == proposal["id"])
    return Decision(proposal["id"], kind, proposal["status"], connection.execute(entity).scalar_one(), False)


def store_decision(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    reviewer: Reviewer,
    action: str,
    columns: Mapping[str, Any],
) -> None:
    """Writes the decision into the proposal, with these columns."""
    review = {"review_action": action, "reviewed_by_user_id": reviewer.user_id, "review_notes": reviewer.notes}
    changed = sa.update(kind.proposals).where(kind.proposals.c.id == proposal["id"])
    connection.execute(changed.values(reviewed_at=sa.func.now(), **review, **columns))


def audit_decision(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    reviewer: Reviewer,
    action: str,
    after: dict[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    edit: Edit = NO_EDIT,
) -> int:
    """Writes the audit entry and returns its id; `values` in it are those of the proposal that the edit replaced, if any."""
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


def nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with SQL NULL for None, which a JSON column would store as JSON null."""
    return {name: sa.null() if value is None else value for name, value in values.items()}


def replaced(proposal: sa.RowMapping, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a decision replaces in the columns of similarity, for the audit entry."""
    return {
        name: proposal[name]
        for name, value in columns.items()
        if name.startswith("similar") and proposal[name] not in (None, value)
    }


def preview_approvals(connection: sa.Connection, proposal_ids: Sequence[UUID]) -> list[Foreseen]:
    """The effect of approving each of these, in their order. A forecast: nothing is locked."""
    effects: dict[UUID, Foreseen] = {}
    for kind in KINDS:
        effects |= _foreseen(connection, kind, proposal_ids)
    gone = [Foreseen(one, None, None, None, "is gone") for one in proposal_ids if one not in effects]
    return [effects[one] for one in proposal_ids if one in effects] + gone


def _conclude(
    connection: sa.Connection,
    kind: EntityKind,
    proposal: sa.RowMapping,
    reviewer: Reviewer,
    action: str,
    columns: dict[str, Any],
    entity_id: int | None = None,
    edit: Edit = NO_EDIT,
) -> Decision:
    """Stores the decision, creates the relations of the row, and writes the audit entry."""
    store_decision(connection, kind, proposal, reviewer, action, columns | edit.values)
    after = {"status": columns["status"]}
    if entity_id is not None:
        related = (relate_topic if kind is TOPIC else relate_atom)(connection, proposal, entity_id)
        after |= {"entity_id": entity_id, **related.as_json}
    before = replaced(proposal, columns)
    audit_id = audit_decision(connection, kind, proposal, reviewer, action, after, before=before, edit=edit)
    return Decision(proposal["id"], kind, columns["status"], entity_id, True, audit_id)


def _refuse_decided(proposal: sa.RowMapping, wanted: str) -> None:
    if proposal["status"] not in DECIDABLE:
        status = proposal["status"].replace("_", " ")
        raise ConflictError(f"Proposal {proposal['id']} is {status} and cannot be {wanted}; undo that first.")


def _create_or_match(
    connection: sa.Connection, kind: EntityKind, proposal_id: UUID, values: dict[str, Any], *, by_a_person: bool
) -> tuple[int, bool]:
    """The row of a proposal of these values, and whether it is new."""
    row = nulls(values) | {"migrated_from_proposal_id": proposal_id, "migration_timestamp": sa.func.now()}
    if kind is TOPIC:
        return _topic(connection, row)
    return _atom(connection, row | {"user_approved": by_a_person})


def _topic(connection: sa.Connection, values: dict[str, Any]) -> tuple[int, bool]:
    columns = TOPIC.entities.c
    new = insert(TOPIC.entities).values(values).on_conflict_do_nothing(index_elements=["name"]).returning(columns.id)
    existing = sa.select(columns.id).where(columns.name == values["name"]).with_for_update(key_share=True, read=True)
    while True:  # somebody may delete the existing one between the two statements
        for statement, created in ((new, True), (existing, False)):
            topic_id = connection.execute(statement).scalar_one_or_none()
            if topic_id is not None:
                return topic_id, created


def _atom(connection: sa.Connection, values: dict[str, Any]) -> tuple[int, bool]:
    """Titles are not unique, so an advisory lock serialises two approvals of one text."""
    columns = ATOM.entities.c
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(values["title"], 0))))
    same = sa.select(columns.id).where(*(columns[name] == values[name] for name in ("title", "content", "type")))
    oldest = same.order_by(columns.id).limit(1).with_for_update(key_share=True, read=True)
    existing = connection.execute(oldest).scalar_one_or_none()
    if existing is not None:
        return existing, False
    return connection.execute(sa.insert(ATOM.entities).values(values).returning(columns.id)).scalar_one(), True


def _foreseen(connection: sa.Connection, kind: EntityKind, proposal_ids: Sequence[UUID]) -> dict[UUID, Foreseen]:
    wanted = sa.select(kind.proposals).where(kind.proposals.c.id.in_(proposal_ids))
    proposals = {row["id"]: row for row in connection.execute(wanted).mappings()}
    identity = ("name",) if kind is TOPIC else ("type", "title", "content")
    columns = kind.entities.c
    query = sa.select(columns.id, *(columns[name] for name in identity)).order_by(columns.id.desc())
    named = query.where(columns[kind.label].in_({row[kind.label] for row in proposals.values()}))
    existing = {tuple(row[1:]): row[0] for row in connection.execute(named)} if proposals else {}
    taken: set[tuple[Any, ...]] = set()
    effects = {}
    for row in (proposals[one] for one in proposal_ids if one in proposals):
        same = tuple(row[name] for name in identity)
        effect: Effect = "joins" if same in taken else "creates"
        if row["status"] not in DECIDABLE:
            effect = "is decided"
        elif same in existing:
            effect = "matches"
        else:
            taken.add(same)
        effects[row["id"]] = Foreseen(
            row["id"],
            kind.name,
            row[kind.label],
            row["confidence"],
            effect,
            existing.get(same) if effect == "matches" else None,
            row["status"],
            row[kind.similar.name],
        )
    return effects
