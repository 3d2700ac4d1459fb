"""A reviewer's corrections of a proposal with its approval (strategy §9.2, §10.3), and how an undo restores what was proposed.

Confidence and reasoning are the model's and cannot be corrected. The audit entry of the approval keeps the proposed values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from knowledge_migration.knowledge.audit import APPROVALS, proposal_subject
from knowledge_migration.knowledge.entity_kinds import EntityKind, EntityName
from knowledge_migration.knowledge.errors import InvalidError
from knowledge_migration.knowledge.extraction.model import AtomType
from knowledge_migration.knowledge.tables import audit_log
from knowledge_migration.knowledge.values import Color, Icon, Meta, Name, Text, Title


def _stripped(text: Any) -> Any:
    """Strips names as the extractor does: with a space at the end, a second topic would look like the first."""
    return text.strip() if isinstance(text, str) else text


class TopicCorrection(BaseModel):
    """What can be corrected of a proposed topic; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, BeforeValidator(_stripped)] = Field(default="", description="Of a topic.")
    description: Text = Field(default="", description="Of a topic.")
    icon: Icon | None = Field(default=None, description="Of a topic.")
    color: Color | None = Field(default=None, description="Of a topic.")


class AtomCorrection(BaseModel):
    """What can be corrected of a proposed atom; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    type: AtomType = Field(default="insight", description="Of an atom.")
    title: Annotated[Title, BeforeValidator(_stripped)] = Field(default="", description="Of an atom.")
    content: Text = Field(default="", description="Of an atom.")
    meta: Meta | None = Field(default=None, description="Of an atom.")


CORRECTIONS: Mapping[EntityName, type[BaseModel]] = {"topic": TopicCorrection, "atom": AtomCorrection}


@dataclass(frozen=True)
class Edit:
    """Replaced values of a proposal by name: the old ones and the new ones; only those that differ."""

    was: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


NO_EDIT = Edit()


def edit_of(kind: EntityKind, proposal: sa.RowMapping, changes: Mapping[str, Any]) -> Edit:
    """The edit of these changes; raises `InvalidError` that names each value which cannot be corrected."""
    model = CORRECTIONS[kind.name]
    unknown = sorted(map(str, changes.keys() - model.model_fields.keys()))
    if unknown:
        raise InvalidError(
            f"{', '.join(unknown)}: this cannot be corrected of {_a(kind)} proposal; {', '.join(model.model_fields)} can."
        )
    # an unchanged value is not validated: others wrote it, and it is approved as it is
    differing = {name: value for name, value in changes.items() if not same_value(value, proposal[name])}
    try:
        valid = model.model_validate(differing).model_dump(exclude_unset=True)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidError(f"{problems} (nothing was approved).") from error
    return _edit(proposal, valid)


def proposed_again(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping) -> Edit:
    """The edit that restores the proposed values of an approved proposal, from the audit entry of its approval.

    Values that changed after the approval stay, and all of them where the entry is missing.
    """
    entry = audit_log.c
    approvals = sa.select(entry.before, entry.after).where(
        entry.subject == proposal_subject(kind, proposal["id"]), entry.action.in_(APPROVALS)
    )
    last = connection.execute(approvals.order_by(entry.id.desc()).limit(1)).one_or_none()
    if last is None:
        return NO_EDIT
    proposed, approved = ((values or {}).get("values", {}) for values in last)
    still = {name for name, value in approved.items() if same_value(value, proposal[name])}
    return _edit(proposal, {name: value for name, value in proposed.items() if name in still})


def _edit(proposal: sa.RowMapping, values: Mapping[str, Any]) -> Edit:
    differing = {name: value for name, value in values.items() if not same_value(value, proposal[name])}
    return Edit({name: proposal[name] for name in differing}, differing)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: Python takes True for 1, also inside lists and dicts."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def _a(kind: EntityKind) -> str:
    return f"{'an' if kind.name[0] in 'aeiou' else 'a'} {kind.name}"
