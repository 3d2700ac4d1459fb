"""The decisions about proposals, newest first, from the audit log (strategy §10.3). Reads only.

A page reads the log backwards by its primary key from where the last page ended and skips other entries one by one; the
caller's statement timeout is the bound.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, KINDS, EntityName
from knowledge_migration.knowledge.errors import InvalidError
from knowledge_migration.knowledge.proposals.listing import Page
from knowledge_migration.knowledge.proposals.review import DECIDABLE
from knowledge_migration.knowledge.tables import audit_log, users

LOOKED_BACK = 200

AUTOMATIC = ("auto_approve", "auto_approve_migration", "dual_write", "replay")
"""Review actions without a reviewer. Parking is automatic too if no user did it: a rollback parks."""

entry = audit_log.c
_is_decision = sa.and_(entry.action.in_(audit.DECISIONS), entry.subject.regexp_match(audit.PROPOSAL_SUBJECT))
_user_id = sa.cast(sa.func.substring(entry.actor, audit.USER_OF_ACTOR), sa.BigInteger)
_nobody = [action for action, name in audit.DECISIONS.items() if name in AUTOMATIC]
_automatic = sa.or_(
    entry.action.in_(_nobody), sa.and_(entry.action == audit.AuditAction.PARK_PROPOSAL, _user_id.is_(None))
)


def is_automatic(action: str | None, user_id: int | None) -> bool:
    """Whether no person made the decision."""
    return action in AUTOMATIC or (action == "park" and user_id is None)


def full_name(first: str | None, last: str | None) -> str:
    """First and last name, as far as they are known."""
    return " ".join(part for part in (first, last) if part)


def list_decisions(
    connection: sa.Connection,
    limit: int,
    cursor: str | None = None,
    *,
    by_user: int | None = None,
    automatic: bool | None = None,
) -> Page:
    """One page of decisions; of one user, of people or of nobody if asked. Raises `InvalidError` for a wrong cursor.

    `can_undo` says that it is the last decision about its proposal, and one that `undo` takes back.
    """
    conditions: list[sa.ColumnElement[bool]] = [_is_decision]
    if cursor:
        conditions.append(entry.id < _read_cursor(cursor))
    if by_user is not None:
        conditions.append(_user_id == by_user)
    if automatic is not None:
        conditions.append(_automatic if automatic else sa.not_(_automatic))
    rows = _entries(connection, conditions, limit + 1)
    page = rows[:limit]
    return Page(_items(connection, page), str(page[-1]["audit_id"]) if len(rows) > limit else None)


def last_decision_of(connection: sa.Connection, actor: str, user_id: int | None) -> UUID | None:
    """The proposal of the last decision of a reviewer that can still be undone, among the last 200 of everybody."""
    who = audit.reviewer_actor(actor, user_id)
    mine = [
        row for row in _entries(connection, [_is_decision], LOOKED_BACK) if row["actor"] == who and not row["automatic"]
    ]
    return next((item["proposal_id"] for item in _items(connection, mine) if item["can_undo"]), None)


def _read_cursor(cursor: str) -> int:
    if re.fullmatch("[0-9]{1,18}", cursor) is None:
        raise InvalidError("The cursor is none of this list. Take next_cursor of the page before, or none.")
    return int(cursor)


def _entries(
    connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], limit: int
) -> Sequence[sa.RowMapping]:
    """Entries, each with the id of the last decision about its proposal (by audit_log_by_subject)."""
    later = audit_log.alias("later")
    last = (
        sa.select(later.c.id)
        .where(later.c.subject == entry.subject, later.c.action.in_(audit.DECISIONS))
        .order_by(later.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    columns = [entry.at, entry.actor, entry.action, entry.subject, entry.before, entry.after, entry.reason]
    query = (
        sa.select(
            entry.id.label("audit_id"),
            *columns,
            _user_id.label("user_id"),
            _automatic.label("automatic"),
            last.label("last"),
        )
        .where(*conditions)
        .order_by(entry.id.desc())
        .limit(limit)
    )
    return connection.execute(query).mappings().all()


def _items(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[dict[str, Any]]:
    names = _names(connection, {row["user_id"] for row in rows} - {None})
    proposals = _proposals(connection, [_about(row) for row in rows])
    return [_item(row, names, proposals) for row in rows]


def _item(
    row: sa.RowMapping, names: dict[int, str], proposals: dict[tuple[EntityName, UUID], sa.RowMapping]
) -> dict[str, Any]:
    kind, proposal_id = _about(row)
    proposal, action = proposals.get((kind, proposal_id)), audit.DECISIONS[row["action"]]
    return {
        "audit_id": row["audit_id"],
        "at": row["at"],
        "actor": row["actor"],
        "who": names.get(row["user_id"]) or row["actor"],
        "action": action,
        "automatic": row["automatic"],
        "proposal_id": proposal_id,
        "entity_type": kind,
        "label": proposal and proposal["label"],
        "status_now": proposal and proposal["status"],
        "before": row["before"],
        "after": row["after"],
        "reason": row["reason"],
        "can_undo": row["audit_id"] == row["last"] and action != "undo" and proposal is not None and _stands(proposal),
    }


def _about(row: sa.RowMapping) -> tuple[EntityName, UUID]:
    """The proposal that an entry is about."""
    kind, proposal_id = audit.proposal_of(row["subject"])
    return KIND_BY_NAME[kind].name, proposal_id


def _stands(proposal: sa.RowMapping) -> bool:
    """Whether there is something that `undo` would take back; a copy of a user's row is not the review's."""
    return proposal["status"] not in DECIDABLE and proposal["confidence"] is not None


def _names(connection: sa.Connection, user_ids: Iterable[int]) -> dict[int, str]:
    ids = sorted(user_ids)
    if not ids:
        return {}
    query = sa.select(users.c.id, users.c.first_name, users.c.last_name).where(users.c.id.in_(ids))
    return {row.id: full_name(row.first_name, row.last_name) for row in connection.execute(query)}


def _proposals(
    connection: sa.Connection, wanted: Iterable[tuple[EntityName, UUID]]
) -> dict[tuple[EntityName, UUID], sa.RowMapping]:
    pairs = set(wanted)
    found: dict[tuple[EntityName, UUID], sa.RowMapping] = {}
    for kind in KINDS:
        ids = [proposal_id for of_kind, proposal_id in pairs if of_kind == kind.name]
        columns = kind.proposals.c
        query = sa.select(columns.id, columns[kind.label].label("label"), columns.status, columns.confidence)
        if ids:
            rows = connection.execute(query.where(columns.id.in_(ids))).mappings()
            found |= {(kind.name, row["id"]): row for row in rows}
    return found
