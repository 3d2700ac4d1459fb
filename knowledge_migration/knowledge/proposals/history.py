"""The decisions about proposals, newest first, from the audit log (strategy §10.3). Reads only.

A page reads the log backwards by its primary key from where the last page ended and skips other entries one by one; the
caller's statement timeout is the bound.
"""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import KINDS
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
    """One page of decisions; of one user, by people only or automatic only. Raises `InvalidError` for a wrong cursor."""
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
    later = audit_log.alias("later").c
    of_same = sa.select(later.id).where(later.subject == entry.subject, later.action.in_(audit.DECISIONS))
    last = of_same.order_by(later.id.desc()).limit(1).scalar_subquery().label("last")
    columns = [entry[name] for name in ("at", "actor", "action", "subject", "before", "after", "reason")]
    derived = (entry.id.label("audit_id"), _user_id.label("user_id"), _automatic.label("automatic"), last)
    query = sa.select(*derived, *columns).where(*conditions).order_by(entry.id.desc()).limit(limit)
    return connection.execute(query).mappings().all()


def _items(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[dict[str, Any]]:
    names = _names(connection, {row["user_id"] for row in rows} - {None})
    about = {row["audit_id"]: audit.proposal_of(row["subject"]) for row in rows}
    proposals = _proposals(connection, set(about.values()))
    return [_item(row, names, about[row["audit_id"]], proposals.get(about[row["audit_id"]])) for row in rows]


def _item(
    row: sa.RowMapping, names: dict[int, str], about: tuple[str, UUID], proposal: sa.RowMapping | None
) -> dict[str, Any]:
    action = audit.DECISIONS[row["action"]]
    # an undo reverts a decision that is the last one; the copy of a user's row has no confidence and is not the review's
    decided = proposal is not None and proposal["status"] not in DECIDABLE and proposal["confidence"] is not None
    return {
        **{name: row[name] for name in ("audit_id", "at", "actor", "automatic", "before", "after", "reason")},
        "who": names.get(row["user_id"]) or row["actor"],
        "action": action,
        "proposal_id": about[1],
        "entity_type": about[0],
        "label": proposal and proposal["label"],
        "status_now": proposal and proposal["status"],
        "can_undo": row["audit_id"] == row["last"] and action != "undo" and decided,
    }


def _names(connection: sa.Connection, user_ids: set[int]) -> dict[int, str]:
    query = sa.select(users.c.id, users.c.first_name, users.c.last_name).where(users.c.id.in_(sorted(user_ids)))
    return {row.id: full_name(row.first_name, row.last_name) for row in connection.execute(query)} if user_ids else {}


def _proposals(connection: sa.Connection, wanted: set[tuple[str, UUID]]) -> dict[tuple[str, UUID], sa.RowMapping]:
    proposals: dict[tuple[str, UUID], sa.RowMapping] = {}
    for kind in KINDS:
        ids = [proposal_id for name, proposal_id in wanted if name == kind.name]
        columns = kind.proposals.c
        query = sa.select(columns.id, columns[kind.label].label("label"), columns.status, columns.confidence)
        if ids:
            rows = connection.execute(query.where(columns.id.in_(ids))).mappings()
            proposals |= {(kind.name, row["id"]): row for row in rows}
    return proposals
