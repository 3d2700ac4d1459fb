"""Reads proposals and runs page by page, by key, so that the millionth page costs what the first does (strategy §9.3).

One ordered, limited query for each kind and status, so that each reads its index from where the last page ended; the pages
are merged afterwards. A text is searched row by row within that scan: no index of the strategy serves it.
"""

import base64
import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

import psycopg
import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, KINDS, EntityKind, EntityName
from knowledge_migration.knowledge.errors import InvalidError, UnknownError
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.values import storable

Sort = Literal["confidence", "created_at"]
COUNTED = 10_000


@dataclass(frozen=True)
class Wanted:
    """Selects proposals; None selects all. `text` is contained, in any case, in one of the two texts of the proposal.

    `similar` is whether it was flagged as similar to a row that exists.
    """

    kinds: tuple[EntityName, ...] = ("topic", "atom")
    statuses: tuple[str, ...] = ("pending",)
    sort: Sort = "confidence"
    min_confidence: float | None = None
    max_confidence: float | None = None
    min_similarity: float | None = None
    run_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    similar: bool | None = None


@dataclass(frozen=True)
class Page:
    """One page, and where the next one begins; None at the end."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def list_proposals(connection: sa.Connection, wanted: Wanted, limit: int, cursor: str | None = None) -> Page:
    """The selected proposals, the most confident or the newest first; raises `InvalidError` for a cursor of another list."""
    after = _read_cursor(cursor, wanted.sort) if cursor else None
    lists = [
        _rows(connection, KIND_BY_NAME[kind], status, wanted, limit + 1, after)
        for kind in wanted.kinds
        for status in wanted.statuses
    ]
    merged = list(heapq.merge(*lists, key=partial(_order, wanted.sort)))[: limit + 1]
    page = merged[:limit]
    return Page(page, _write_cursor(page[-1], wanted.sort) if len(merged) > limit else None)


def count_proposals(connection: sa.Connection, wanted: Wanted, timeout_ms: int = 1000) -> dict[EntityName, int | None]:
    """The number of each wanted kind over all pages; None where counting takes longer than the timeout.

    In the caller's transaction, which stays as usable as it was, its own timeout included.
    """
    return {name: _count(connection, KIND_BY_NAME[name], wanted, timeout_ms) for name in wanted.kinds}


def one_proposal(connection: sa.Connection, proposal_id: UUID) -> dict[str, Any]:
    """One proposal with the row that it represents; raises `UnknownError`."""
    for kind in KINDS:
        query = _selected(kind).where(kind.proposals.c.id == proposal_id)
        row = connection.execute(query).mappings().one_or_none()
        if row:
            return _item(kind, row)
    raise UnknownError(f"There is no proposal {proposal_id}.")


def list_runs(connection: sa.Connection, limit: int, cursor: str | None = None, statuses: Sequence[str] = ()) -> Page:
    """The extraction runs, newest first, each with the number of its proposals, up to 10,000 of a kind."""
    query = _runs().order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit + 1)
    if statuses:
        query = query.where(runs.c.status.in_(statuses))
    if cursor:
        moment, run_id = _read_cursor(cursor, "created_at")
        query = query.where(sa.tuple_(runs.c.created_at, runs.c.id) < sa.tuple_(sa.literal(moment), sa.literal(run_id)))
    rows = [dict(row) for row in connection.execute(query).mappings()]
    page = rows[:limit]
    return Page(page, _write_cursor(page[-1], "created_at") if len(rows) > limit else None)


def one_run(connection: sa.Connection, run_id: UUID) -> dict[str, Any]:
    """One extraction run; raises `UnknownError`."""
    row = connection.execute(_runs().where(runs.c.id == run_id)).mappings().one_or_none()
    if row is None:
        raise UnknownError(f"There is no extraction run {run_id}.")
    return dict(row)


def _runs() -> sa.Select[Any]:
    return sa.select(runs, *(_proposals_of_the_run(kind) for kind in KINDS))


def _proposals_of_the_run(kind: EntityKind) -> sa.Label[int]:
    """Bounded: the run of the backfill has a proposal for every row of the table."""
    proposals = sa.select(sa.true()).where(kind.proposals.c.extraction_run_id == runs.c.id).limit(COUNTED)
    counted = sa.select(sa.func.count()).select_from(proposals.correlate(runs).subquery())
    return counted.scalar_subquery().label(f"{kind.name}_proposal_count")


def _selected(kind: EntityKind) -> sa.Select[Any]:
    return sa.select(kind.proposals, kind.entity_of.label("represents")).select_from(kind.joined)


def _rows(
    connection: sa.Connection, kind: EntityKind, status: str, wanted: Wanted, limit: int, after: tuple[Any, UUID] | None
) -> list[dict[str, Any]]:
    columns = kind.proposals.c
    query = _selected(kind).where(columns.status == status, *_conditions(kind, wanted))
    query = query.order_by(columns[wanted.sort].desc(), columns.id)
    items: list[dict[str, Any]] = []
    for beyond in _beyond(columns[wanted.sort], columns.id, *after) if after else [sa.true()]:
        rows = connection.execute(query.where(beyond).limit(limit - len(items))).mappings()
        items += [_item(kind, row) for row in rows]
        if len(items) == limit:
            break
    return items


def _conditions(kind: EntityKind, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    """The conditions for the proposals of one kind, without their status."""
    columns = kind.proposals.c
    flagged = kind.similar.is_not(None)
    stated: tuple[tuple[Any, Callable[[Any], sa.ColumnElement[bool]]], ...] = (
        (wanted.min_confidence, lambda value: columns.confidence >= value),
        (wanted.max_confidence, lambda value: columns.confidence <= value),
        (wanted.min_similarity, lambda value: sa.and_(columns.similarity_score >= value, flagged)),
        (wanted.created_after, lambda value: columns.created_at >= value),
        (wanted.created_before, lambda value: columns.created_at <= value),
        (wanted.run_id, lambda value: columns.extraction_run_id == value),
        (wanted.similar, lambda value: flagged if value else ~flagged),
        (wanted.text or None, lambda value: _contains(kind, value)),
    )
    return [condition(value) for value, condition in stated if value is not None]


def _contains(kind: EntityKind, text: str) -> sa.ColumnElement[bool]:
    """Whether one of its two texts contains this one, in any case; a text that cannot be stored matches nothing."""
    try:
        storable(text)
    except ValueError:
        return sa.false()
    columns = kind.proposals.c
    return sa.or_(*(columns[name].icontains(text, autoescape=True) for name in (kind.label, kind.detail)))


def _beyond(
    column: "sa.ColumnElement[Any]", key: "sa.ColumnElement[Any]", value: Any, last: UUID
) -> list[sa.ColumnElement[bool]]:
    """The rows after the last one of a page, descending, then by id; rows without a value come first, as in the index.

    The rest of its ties, then lower values: one condition for both would read all ties again.
    """
    if value is None:
        return [sa.and_(column.is_(None), key > last), column.is_not(None)]
    return [sa.and_(column == value, key > last), column < value]


def _item(kind: EntityKind, row: sa.RowMapping) -> dict[str, Any]:
    values = dict(row)
    similar = values.pop(kind.similar.name)
    return {**values, "entity_type": kind.name, "similar_entity_id": similar, "entity_id": values.pop("represents")}


def _order(sort: Sort, item: dict[str, Any]) -> tuple[Any, ...]:
    value = item[sort]
    if value is None:
        return (0, 0.0, item["id"])
    return (1, -(value.timestamp() if isinstance(value, datetime) else value), item["id"])


def _write_cursor(item: dict[str, Any], sort: Sort) -> str:
    value = item[sort]
    parts = [sort, value.isoformat() if isinstance(value, datetime) else value, str(item["id"])]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: Sort) -> tuple[Any, UUID]:
    try:
        made_for, value, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if made_for != sort:
            raise ValueError("made for another order")
        if sort == "created_at":
            value = datetime.fromisoformat(value)
        elif value is not None:
            value = float(value)
        return value, UUID(last)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidError("The cursor is none of this list. Take next_cursor of the page before, or none.") from error


def _count(connection: sa.Connection, kind: EntityKind, wanted: Wanted, timeout_ms: int) -> int | None:
    """In a savepoint that is always rolled back: that restores the timeout, and there is nothing to keep."""
    status = kind.proposals.c.status.in_(wanted.statuses)
    query = sa.select(sa.func.count()).select_from(kind.proposals).where(status, *_conditions(kind, wanted))
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, int(timeout_ms))}")
        return connection.execute(query).scalar_one()
    except sa.exc.OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise
        return None
    finally:
        savepoint.rollback()
