"""What topics and atoms have in common, declared once: everything that is done to both is written over `EntityKind`."""

from dataclasses import dataclass
from typing import Literal

EntityName = Literal["topic", "atom"]


@dataclass(frozen=True)
class EntityKind:
    """A legacy table whose rows become proposals.

    `label` is the column that names a row to a person; `copied` are the columns that the proposal takes over under
    the same name; `casts` the types among them that differ (`meta` is json in atoms and jsonb in the proposal); `widths` the
    proposal's column widths in characters.
    """

    name: EntityName
    table: str
    proposals: str
    label: str
    copied: tuple[str, ...]
    casts: tuple[tuple[str, str], ...]
    widths: tuple[tuple[str, int], ...]
    has_confidence: bool


TOPIC = EntityKind(
    name="topic",
    table="topics",
    proposals="topic_proposals",
    label="name",
    copied=("name", "description", "icon", "color"),
    casts=(),
    widths=(("name", 100), ("icon", 50), ("color", 7)),
    has_confidence=False,
)

ATOM = EntityKind(
    name="atom",
    table="atoms",
    proposals="atom_proposals",
    label="title",
    copied=("type", "title", "content", "meta"),
    casts=(("meta", "jsonb"),),
    widths=(("type", 20), ("title", 200)),
    has_confidence=True,
)

ENTITIES: tuple[EntityKind, ...] = (TOPIC, ATOM)

BY_NAME: dict[str, EntityKind] = {entity.name: entity for entity in ENTITIES}
