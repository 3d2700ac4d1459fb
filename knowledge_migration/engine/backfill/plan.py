"""Cuts the id ranges of topics and atoms into partitions (strategy §5.1: small, resumable pieces).

The upper bound is fixed when the plan is made; rows that appear above it belong to the final sweep. A key follows from
the width alone, so that planning again gives the same keys for the same ids.
"""

from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind, EntityName


@dataclass(frozen=True)
class Partition:
    """The ids above `after_id` up to and including `through_id` of one table."""

    entity: EntityName
    key: str
    after_id: int
    through_id: int


@dataclass(frozen=True)
class EntityPlan:
    """The partitions of one table, the bound they end at, and what there is to do in them."""

    entity: EntityName
    width_ids: int
    upper_id: int
    rows: int
    linked: int
    partitions: tuple[Partition, ...]

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for `migration.evidence`."""
        return {
            "width_ids": self.width_ids,
            "upper_id": self.upper_id,
            "rows": self.rows,
            "linked": self.linked,
            "partitions": {part.key: [part.after_id, part.through_id] for part in self.partitions},
        }

    @classmethod
    def from_evidence(cls, entity: EntityName, content: dict[str, Any]) -> "EntityPlan":
        """Reads back what `to_evidence` wrote."""
        parts = tuple(Partition(entity, key, *ends) for key, ends in content["partitions"].items())
        return cls(entity, content["width_ids"], content["upper_id"], content["rows"], content["linked"], parts)


def make_plan(connection: Connection, *, width_ids: int, max_partitions: int) -> dict[str, EntityPlan]:
    """The plan of both tables as they are now; reads only. Raises `PreconditionError` before phase 1."""
    require_phase_1(connection)
    return {kind.name: _plan(connection, kind, width_ids, max_partitions) for kind in KINDS}


def _plan(connection: Connection, kind: EntityKind, width_ids: int, max_partitions: int) -> EntityPlan:
    bounds = connection.execute(statement("backfill/id_bounds", table=f"public.{kind.table}")).fetchone()
    assert bounds is not None
    if bounds["last_id"] is None:
        return EntityPlan(kind.name, width_ids, 0, 0, 0, ())
    first, last = bounds["first_id"], bounds["last_id"]
    width = partition_width(first, last, width_ids=width_ids, max_partitions=max_partitions)
    counted = connection.execute(
        statement("backfill/rows_in_range", table=f"public.{kind.table}"), {"after": first - 1, "through": last}
    ).fetchone()
    assert counted is not None
    partitions = partitions_of(kind.name, first, last, width)
    return EntityPlan(kind.name, width, last, counted["rows"], counted["linked"], partitions)


def partition_width(first: int, last: int, *, width_ids: int, max_partitions: int) -> int:
    """The smallest multiple of `width_ids` that cuts the ids up to `last` into at most `max_partitions`."""
    return width_ids * max(1, -(-(last - min(first, 1) + 1) // (width_ids * max_partitions)))


def partitions_of(entity: EntityName, first: int, last: int, width: int) -> tuple[Partition, ...]:
    """One partition per step of `width` ids from `first` to `last`, counted from id 1; ids below 1 belong to the first."""
    starts = range(max(0, (first - 1) // width) * width, max(last, 1), width)
    parts = [
        Partition(entity, f"{start + 1:012d}-{start + width:012d}", start, min(start + width, last)) for start in starts
    ]
    if first < 1:
        parts[0] = Partition(entity, parts[0].key, first - 1, parts[0].through_id)
    return tuple(parts)
