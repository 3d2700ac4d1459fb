"""Divides the id ranges of topics and atoms into partitions (strategy §5.1: small, resumable pieces).

The plan fixes the upper bound; the final sweep takes the rows above it. A key depends on the width alone, so that a new
plan gives the same keys to the same ids.
"""

from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, KINDS, EntityKind, EntityName

EVIDENCE = "backfill_plan"


@dataclass(frozen=True)
class Partition:
    """The ids above `after_id` up to and including `through_id` of one table."""

    entity: EntityName
    key: str
    after_id: int
    through_id: int

    @property
    def kind(self) -> EntityKind:
        """The description of its table."""
        return KIND_BY_NAME[self.entity]

    @property
    def parameters(self) -> dict[str, object]:
        """The named parameters of the queries over its pending rows."""
        return {"entity": self.entity, "after": self.after_id, "through": self.through_id}


@dataclass(frozen=True)
class EntityPlan:
    """The partitions of one table, their upper bound, and the rows in them."""

    entity: EntityName
    width_ids: int
    upper_id: int
    rows: int
    linked: int
    partitions: tuple[Partition, ...]

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for `migration.evidence`."""
        partitions = {part.key: [part.after_id, part.through_id] for part in self.partitions}
        return {**{name: value for name, value in vars(self).items() if name != "entity"}, "partitions": partitions}

    @classmethod
    def from_evidence(cls, entity: EntityName, content: dict[str, Any]) -> "EntityPlan":
        """The inverse of `to_evidence`."""
        parts = tuple(Partition(entity, key, *ends) for key, ends in content["partitions"].items())
        return cls(entity, **{**content, "partitions": parts})


def make_plan(connection: Connection, *, width_ids: int, max_partitions: int) -> dict[str, EntityPlan]:
    """The plan of both tables as they are now; reads only. Raises `PreconditionError` before phase 1."""
    require_phase_1(connection)
    return {kind.name: _plan(connection, kind, width_ids, max_partitions) for kind in KINDS}


def _plan(connection: Connection, kind: EntityKind, width_ids: int, max_partitions: int) -> EntityPlan:
    table = f"public.{kind.table}"
    bounds = connection.execute(statement("backfill/id_bounds", table=table)).fetchone()
    assert bounds is not None
    if bounds["last_id"] is None:
        return EntityPlan(kind.name, width_ids, 0, 0, 0, ())
    first, last = bounds["first_id"], bounds["last_id"]
    width = partition_width(first, last, width_ids=width_ids, max_partitions=max_partitions)
    within = {"after": first - 1, "through": last}
    counted = connection.execute(statement("backfill/rows_in_range", table=table), within).fetchone()
    assert counted is not None
    partitions = partitions_of(kind.name, first, last, width)
    return EntityPlan(kind.name, width, last, counted["rows"], counted["linked"], partitions)


def partition_width(first: int, last: int, *, width_ids: int, max_partitions: int) -> int:
    """The smallest multiple of `width_ids` that divides the ids up to `last` into at most `max_partitions`."""
    return width_ids * max(1, -(-(last - min(first, 1) + 1) // (width_ids * max_partitions)))


def partitions_of(entity: EntityName, first: int, last: int, width: int) -> tuple[Partition, ...]:
    """One partition per `width` ids from `first` to `last`, counted from id 1; ids below 1 belong to the first."""
    starts = range(max(0, (first - 1) // width) * width, max(last, 1), width)
    parts = [
        Partition(entity, f"{start + 1:012d}-{start + width:012d}", start, min(start + width, last)) for start in starts
    ]
    if first < 1:
        parts[0] = Partition(entity, parts[0].key, first - 1, parts[0].through_id)
    return tuple(parts)


def planned(connection: Connection) -> dict[str, EntityPlan]:
    """The latest plan; raises `PreconditionError` when there is none."""
    content = evidence.require(connection, EVIDENCE, made_by="asset backfill_plan").content
    return {kind.name: EntityPlan.from_evidence(kind.name, content[kind.name]) for kind in KINDS}


def planned_partition(connection: Connection, entity: EntityName, key: str) -> Partition:
    """The partition of a key in the latest plan; raises `PreconditionError` when the plan does not have it."""
    for partition in planned(connection)[entity].partitions:
        if partition.key == key:
            return partition
    raise PreconditionError(
        f"The latest plan has no {entity} partition {key}. Materialize backfill_plan, then the partitions it lists."
    )
