"""The one description of topics and atoms: tables, columns and texts. Code for both is written over `EntityKind`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import sqlalchemy as sa

from knowledge_migration.knowledge.tables import atom_proposals, linked_atoms, linked_topics, topic_proposals

EntityName = Literal["topic", "atom"]

APPROVED = ("approved", "auto_approved")


@dataclass(frozen=True, eq=False)
class EntityKind:
    """A legacy table whose rows become proposals, and the table of the proposals.

    `entities` is the legacy table with the link columns of phase 1. `label` is the column that names a row, `detail` the
    column with the long text. `values` are the columns that a row and its proposal share.
    """

    name: EntityName
    entities: sa.Table
    proposals: sa.Table
    label: str
    detail: str
    values: tuple[str, ...]

    @property
    def table(self) -> str:
        """The name of the legacy table."""
        return self.entities.name

    @property
    def proposal_table(self) -> str:
        """The name of the table of proposals."""
        return self.proposals.name

    @property
    def has_confidence(self) -> bool:
        """Whether the legacy table states a confidence."""
        return "confidence" in self.values

    @cached_property
    def copied(self) -> tuple[str, ...]:
        """The columns that a proposal takes over from a row without a rule of their own."""
        return tuple(name for name in self.values if name != "confidence")

    @cached_property
    def casts(self) -> Mapping[str, str]:
        """The proposal's type of each shared column whose type differs (`meta` is json in atoms, jsonb in proposals)."""
        types = {name: (self.entities.c[name].type, self.proposals.c[name].type) for name in self.values}
        return {name: str(new).lower() for name, (old, new) in types.items() if type(old) is not type(new)}

    @cached_property
    def widths(self) -> Mapping[str, int]:
        """The width in characters of each shared column of the proposal that has one."""
        types = {name: self.proposals.c[name].type for name in self.values}
        return {name: t.length for name, t in types.items() if isinstance(t, sa.String) and t.length}

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The legacy columns that the application shows to its users."""
        hidden = ("embedding", "migrated_from_proposal_id", "migration_timestamp")
        return tuple(column.name for column in self.entities.c if column.name not in hidden)

    @property
    def similar(self) -> "sa.Column[int]":
        """The proposal's column that names the similar, matched or merged entity."""
        return self.proposals.c[f"similar_{self.name}_id"]

    @property
    def entity_of(self) -> "sa.ColumnElement[int | None]":
        """The row that a proposal represents: its own, the one it matched by name, or the one it was merged into.

        A proposal that created a row never represents another one, even if a user deletes that row later or the proposal is
        flagged as similar to a row with the same title and another text. For queries over `joined`.
        """
        columns = self.proposals.c
        matched = sa.case((sa.and_(columns.similarity_type == "exact", columns.entity_id.is_(None)), self.similar))
        return sa.case(
            (columns.status.in_(APPROVED), sa.func.coalesce(self.entities.c.id, matched)),
            (columns.status == "merged", self.similar),
        )

    @property
    def joined(self) -> sa.Join:
        """Each proposal with the row that it became, if any."""
        return self.proposals.outerjoin(self.entities, self.entities.c.migrated_from_proposal_id == self.proposals.c.id)


TOPIC = EntityKind(
    name="topic",
    entities=linked_topics,
    proposals=topic_proposals,
    label="name",
    detail="description",
    values=("name", "description", "icon", "color"),
)
ATOM = EntityKind(
    name="atom",
    entities=linked_atoms,
    proposals=atom_proposals,
    label="title",
    detail="content",
    values=("type", "title", "content", "meta", "confidence"),
)

KINDS: tuple[EntityKind, ...] = (TOPIC, ATOM)
KIND_BY_NAME: Mapping[str, EntityKind] = {kind.name: kind for kind in KINDS}
