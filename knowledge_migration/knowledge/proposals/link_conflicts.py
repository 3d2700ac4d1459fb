"""Repairs links that exist only after the unique index of the links was dropped (strategy §10.4, ERRATA V12).

Of two approved proposals that claim one row, the one that the row does not name is merged into it. Of two rows with one origin,
the row that the proposal did not create gets its own proposal's link, or none. Then phase 1 can build the index again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid3

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import APPROVED, KINDS, EntityKind
from knowledge_migration.knowledge.proposals.review import Reviewer, locked, merge, one_by_one
from knowledge_migration.knowledge.proposals.undo import undo

ORIGINS = UUID(bytes=b"knowledge/origin")


@dataclass(frozen=True)
class LinkConflict:
    """An approved proposal that claims a row which names another proposal as its origin."""

    kind: EntityKind
    entity_id: int
    origin_id: UUID
    proposal_id: UUID


@dataclass(frozen=True)
class SharedOrigin:
    """Rows that name one proposal as their origin; `created` is the row that it created, None where that is unknown."""

    kind: EntityKind
    proposal_id: UUID
    created: int | None
    others: tuple[int, ...]


def link_conflicts(connection: sa.Connection) -> list[LinkConflict]:
    """Every approved proposal whose row names another one. Reads only."""
    return [conflict for kind in KINDS for conflict in _conflicts(connection, kind)]


def shared_origins(connection: sa.Connection) -> list[SharedOrigin]:
    """Every proposal that is the origin of several rows. Reads only; one scan of each table."""
    return [shared for kind in KINDS for shared in _shared(connection, kind)]


def resolve_claims(engine: sa.Engine, claims: Sequence[LinkConflict], reviewer: Reviewer) -> Iterator[tuple[UUID, str]]:
    """Merges each into the row that it claims, in its own transaction; yields the outcome."""

    def work(connection: sa.Connection, claim: LinkConflict) -> tuple[UUID, str]:
        locked(connection, claim.proposal_id, reviewer)
        if claim not in _conflicts(connection, claim.kind, claim.proposal_id):
            return claim.proposal_id, "left: it has changed meanwhile"
        undo(connection, claim.proposal_id, reviewer)
        merge(connection, claim.proposal_id, claim.entity_id, reviewer)
        return claim.proposal_id, f"merged into {claim.kind.name} {claim.entity_id}"

    return one_by_one(engine, claims, work, lambda claim, error: (claim.proposal_id, f"left: {error}"))


def resolve_origins(
    engine: sa.Engine, shared: Sequence[SharedOrigin], reviewer: Reviewer
) -> Iterator[tuple[SharedOrigin, str]]:
    """Corrects the links of the rows that a proposal did not create, in one transaction each; audited."""

    def work(connection: sa.Connection, one: SharedOrigin) -> tuple[SharedOrigin, str]:
        if one.created is None:
            return one, "left: the row that it created is unknown; clear the wrong links (both columns)"
        corrected = _correct(connection, one, reviewer)
        return one, f"link corrected of {', '.join(map(str, corrected))}" if corrected else "left: changed meanwhile"

    return one_by_one(engine, shared, work, lambda one, error: (one, f"left: {error}"))


def _conflicts(connection: sa.Connection, kind: EntityKind, only: UUID | None = None) -> list[LinkConflict]:
    claiming, origin = (kind.proposals.alias(name).c for name in ("claiming", "origin"))
    claimed, own = (kind.entities.alias(name).c for name in ("claimed", "own"))
    origin_id = sa.func.migration.origin_proposal_id(kind.table, claimed.id)
    query = (
        sa.select(claimed.id, origin.id.label("origin"), claiming.id.label("proposal"))
        .where(
            claiming.status.in_(APPROVED),
            claimed.id == claiming.entity_id,
            origin.id == claimed.migrated_from_proposal_id,
            origin.id != claiming.id,
            origin.status.in_(APPROVED),
            sa.or_(origin.entity_id == claimed.id, origin.id == origin_id),
            ~sa.exists().where(own.migrated_from_proposal_id == claiming.id),
            claiming.id == only if only else sa.true(),
        )
        .order_by(claimed.id, claiming.id)
    )
    return [LinkConflict(kind, *row) for row in connection.execute(query)]


def _shared(connection: sa.Connection, kind: EntityKind) -> Iterator[SharedOrigin]:
    rows, proposals = kind.entities.c, kind.proposals.c
    ids = sa.func.array_agg(sa.dialects.postgresql.aggregate_order_by(rows.id, rows.id))
    query = (
        sa.select(proposals.id, proposals.entity_id, ids)
        .where(rows.migrated_from_proposal_id == proposals.id)
        .group_by(proposals.id, proposals.entity_id)
        .having(sa.func.count() > 1)
        .order_by(proposals.id)
    )
    for proposal_id, entity_id, row_ids in connection.execute(query):
        candidates = [one for one in row_ids if one == entity_id or origin_proposal_id(kind, one) == proposal_id]
        created = candidates[0] if len(candidates) == 1 else None
        yield SharedOrigin(kind, proposal_id, created, tuple(one for one in row_ids if one != created))


def origin_proposal_id(kind: EntityKind, row_id: int) -> UUID:
    """The id that the backfill gives to the proposal of a row (as migration.origin_proposal_id)."""
    return uuid3(ORIGINS, f"{kind.table}/{row_id}")


def _correct(connection: sa.Connection, shared: SharedOrigin, reviewer: Reviewer) -> list[int]:
    locked(connection, shared.proposal_id, reviewer)
    columns = shared.kind.entities.c
    still = sa.and_(columns.id.in_(shared.others), columns.migrated_from_proposal_id == shared.proposal_id)
    query = sa.select(columns.id).where(still).order_by(columns.id).with_for_update()
    row_ids = list(connection.execute(query).scalars())
    for row_id in row_ids:
        own = _proposal_that_claims(connection, shared.kind, row_id)
        link = {"migrated_from_proposal_id": own and own["id"], "migration_timestamp": own and own["decided_at"]}
        connection.execute(sa.update(shared.kind.entities).where(columns.id == row_id).values(link))
        connection.execute(
            audit.entry(
                audit.AuditAction.CORRECT_LINK,
                f"{shared.kind.name} {row_id}",
                actor=reviewer.actor,
                before={"migrated_from_proposal_id": str(shared.proposal_id)},
                after={"migrated_from_proposal_id": str(own["id"]) if own else None, "stays_with": shared.created},
                reason=reviewer.notes,
            )
        )
    return row_ids


def _proposal_that_claims(connection: sa.Connection, kind: EntityKind, row_id: int) -> sa.RowMapping | None:
    """The one approved proposal that claims this row, if no row names it."""
    columns, rows = kind.proposals.c, kind.entities.c
    decided_at = sa.func.coalesce(columns.reviewed_at, columns.created_at).label("decided_at")
    query = sa.select(columns.id, decided_at).where(
        columns.entity_id == row_id,
        columns.status.in_(APPROVED),
        ~sa.exists().where(rows.migrated_from_proposal_id == columns.id),
    )
    proposals = connection.execute(query).mappings().all()
    return proposals[0] if len(proposals) == 1 else None
