"""What topic and atom proposals have in common, declared once: what is done to both is written over `Kind`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from knowledge_migration.knowledge.tables import atom_proposals, linked_atoms, linked_topics, topic_proposals

EntityType = Literal["topic", "atom"]

APPROVED = ("approved", "auto_approved")


@dataclass(frozen=True)
class Kind:
    """One kind of proposal: its table, the table of what it becomes, the columns that the two share.

    `label` and `detail` name the texts that say what it is: in short, and at length.
    """

    name: EntityType
    proposals: sa.Table
    entities: sa.Table
    label: str
    detail: str
    values: tuple[str, ...]

    @property
    def similar(self) -> "sa.Column[int]":
        """The column that names the similar, matched or merged entity."""
        return self.proposals.c[f"similar_{self.name}_id"]

    @property
    def entity_of(self) -> "sa.ColumnElement[int | None]":
        """The row that a proposal stands for: its own, the one it matched by name, or the one it was merged into.

        A proposal that made a row of its own never stands for another: not when a user deletes that row, and not when it
        is flagged with a row of the same title and another text. For queries over `joined`.
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


TOPIC = Kind("topic", topic_proposals, linked_topics, "name", "description", ("name", "description", "icon", "color"))
ATOM = Kind(
    "atom", atom_proposals, linked_atoms, "title", "content", ("type", "title", "content", "meta", "confidence")
)

KINDS: Mapping[EntityType, Kind] = {"topic": TOPIC, "atom": ATOM}
