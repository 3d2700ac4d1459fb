"""Two that claim to be one: what can only be where the unique index of the links was dropped (strategy §10.4, ERRATA V12).

Two approved proposals say that they made the same row: the row names one of them as its origin, and the other is made to
stand for that row as well, by undo and merge, so that the audit log has it and it can be undone. One proposal is the
origin of two rows: the row that it did not make gets the link to the proposal that made it, or loses the link where there
is none, and the next backfill gives it one; its values stay. Afterwards phase 1 can build the index again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid3

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, KINDS, EntityKind
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.proposals.review import Reviewer, locked, merge, undo

ORIGINS = UUID(bytes=b"knowledge/origin")


@dataclass(frozen=True)
class LinkConflict:
    """An approved proposal that says it made a row which names another proposal as its origin."""

    kind: EntityKind
    entity_id: int
    origin_id: UUID
    proposal_id: UUID


@dataclass(frozen=True)
class SharedOrigin:
    """Rows that name one proposal as their origin; `made` is the one that it made, None where that cannot be told."""

    kind: EntityKind
    proposal_id: UUID
    made: int | None
    others: tuple[int, ...]


def link_conflicts(connection: sa.Connection) -> list[LinkConflict]:
    """Every approved proposal whose row belongs to another. Reads only."""
    return [claim for kind in KINDS for claim in _claims(connection, kind)]


def shared_origins(connection: sa.Connection) -> list[SharedOrigin]:
    """Every proposal that is the origin of several rows. Reads only; one scan a table."""
    return [shared for kind in KINDS for shared in _shared(connection, kind)]


def resolve_claims(engine: sa.Engine, claims: Sequence[LinkConflict], reviewer: Reviewer) -> Iterator[tuple[UUID, str]]:
    """Makes each stand for the row that it claims, in a transaction of its own; tells what became of it."""
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    for claim in claims:
        try:
            with transactions.begin() as connection:
                words = _merge(connection, claim, reviewer)
        except (ConflictError, UnknownError) as error:
            words = f"left: {error}"
        yield claim.proposal_id, words


def _merge(connection: sa.Connection, claim: LinkConflict, reviewer: Reviewer) -> str:
    locked(connection, claim.proposal_id, reviewer)
    if claim not in _claims(connection, claim.kind, claim.proposal_id):
        return "left: it has changed meanwhile"
    undo(connection, claim.proposal_id, reviewer)
    merge(connection, claim.proposal_id, claim.entity_id, reviewer)
    return f"merged into {claim.kind.name} {claim.entity_id}"


def resolve_origins(
    engine: sa.Engine, shared: Sequence[SharedOrigin], reviewer: Reviewer
) -> Iterator[tuple[SharedOrigin, str]]:
    """Corrects the links of the rows that a proposal did not make, one proposal in a transaction; audited."""
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    for one in shared:
        if one.made is None:
            yield one, "left: which of them it made cannot be told; clear the wrong links (both columns)"
            continue
        with transactions.begin() as connection:
            corrected = _correct(connection, one, reviewer)
        yield one, f"link corrected of {', '.join(map(str, corrected))}" if corrected else "left: changed meanwhile"


def _claims(connection: sa.Connection, kind: EntityKind, only: UUID | None = None) -> list[LinkConflict]:
    claiming, claimed, own = (
        kind.proposals.alias("claiming").c,
        kind.entities.alias("claimed").c,
        kind.entities.alias("own").c,
    )
    origin = kind.proposals.alias("origin").c
    made_of_row = sa.func.migration.origin_proposal_id(kind.entities.name, claimed.id)
    query = (
        sa.select(claimed.id, origin.id.label("origin"), claiming.id.label("proposal"))
        .where(
            claiming.status.in_(APPROVED),
            claimed.id == claiming.entity_id,
            origin.id == claimed.migrated_from_proposal_id,
            origin.id != claiming.id,
            origin.status.in_(APPROVED),
            sa.or_(origin.entity_id == claimed.id, origin.id == made_of_row),
            ~sa.exists().where(own.migrated_from_proposal_id == claiming.id),
        )
        .order_by(claimed.id, claiming.id)
    )
    if only is not None:
        query = query.where(claiming.id == only)
    return [LinkConflict(kind, *row) for row in connection.execute(query)]


def _shared(connection: sa.Connection, kind: EntityKind) -> list[SharedOrigin]:
    rows, proposals = kind.entities.c, kind.proposals.c
    ids = sa.func.array_agg(sa.dialects.postgresql.aggregate_order_by(rows.id, rows.id))
    query = (
        sa.select(proposals.id, proposals.entity_id, ids)
        .where(rows.migrated_from_proposal_id == proposals.id)
        .group_by(proposals.id, proposals.entity_id)
        .having(sa.func.count() > 1)
        .order_by(proposals.id)
    )
    found = []
    for proposal_id, entity_id, row_ids in connection.execute(query):
        made = [one for one in row_ids if one == entity_id or origin_proposal_id(kind, one) == proposal_id]
        true_row = made[0] if len(made) == 1 else None
        others = tuple(one for one in row_ids if one != true_row)
        found.append(SharedOrigin(kind, proposal_id, true_row, others))
    return found


def origin_proposal_id(kind: EntityKind, row_id: int) -> UUID:
    """The id that the backfill gives to the proposal of a row (see migration.origin_proposal_id)."""
    return uuid3(ORIGINS, f"{kind.entities.name}/{row_id}")


def _correct(connection: sa.Connection, shared: SharedOrigin, reviewer: Reviewer) -> list[int]:
    locked(connection, shared.proposal_id, reviewer)
    columns = shared.kind.entities.c
    still = sa.and_(columns.id.in_(shared.others), columns.migrated_from_proposal_id == shared.proposal_id)
    row_ids = (
        connection.execute(sa.select(columns.id).where(still).order_by(columns.id).with_for_update()).scalars().all()
    )
    for row_id in row_ids:
        own = _proposal_that_made(connection, shared.kind, row_id)
        link = {"migrated_from_proposal_id": own and own["id"], "migration_timestamp": own and own["made_at"]}
        connection.execute(sa.update(shared.kind.entities).where(columns.id == row_id).values(link))
        connection.execute(
            audit.entry(
                audit.AuditAction.CORRECT_LINK,
                f"{shared.kind.name} {row_id}",
                actor=reviewer.actor,
                before={"migrated_from_proposal_id": str(shared.proposal_id)},
                after={"migrated_from_proposal_id": str(own["id"]) if own else None, "stays_with": shared.made},
                reason=reviewer.notes,
            )
        )
    return list(row_ids)


def _proposal_that_made(connection: sa.Connection, kind: EntityKind, row_id: int) -> sa.RowMapping | None:
    """The one approved proposal that says it made this row, if no row names it."""
    columns, rows = kind.proposals.c, kind.entities.c
    query = sa.select(columns.id, sa.func.coalesce(columns.reviewed_at, columns.created_at).label("made_at")).where(
        columns.entity_id == row_id,
        columns.status.in_(APPROVED),
        ~sa.exists().where(rows.migrated_from_proposal_id == columns.id),
    )
    found = connection.execute(query).mappings().all()
    return found[0] if len(found) == 1 else None
