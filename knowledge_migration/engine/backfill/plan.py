"""Divides the rows of topics and atoms into partitions (strategy §5.1: small, resumable pieces).

The plan fixes the upper bound; the final sweep takes the rows above it. A partition has a number of rows, so gaps between
ids cost nothing; its key is the first id that it may have, so that a table that grows keeps its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
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
    upper_id: int
    rows: int
    linked: int
    partitions: tuple[Partition, ...]

    @property
    def partition_rows(self) -> int:
        """Rows in each partition but the last, which has at most as many."""
        return -(-self.rows // len(self.partitions)) if self.partitions else 0

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for `migration.evidence`."""
        partitions = {part.key: [part.after_id, part.through_id] for part in self.partitions}
        return {"upper_id": self.upper_id, "rows": self.rows, "linked": self.linked, "partitions": partitions}

    @classmethod
    def from_evidence(cls, entity: EntityName, content: dict[str, Any]) -> "EntityPlan":
        """The inverse of `to_evidence`."""
        parts = tuple(Partition(entity, key, *ends) for key, ends in content["partitions"].items())
        return cls(entity, content["upper_id"], content["rows"], content["linked"], parts)


def make_plan(connection: Connection, *, partition_rows: int, max_partitions: int) -> dict[str, EntityPlan]:
    """The plan of both tables as they are now; reads only. Raises `PreconditionError` before phase 1."""
    require_phase_1(connection)
    return {kind.name: _plan(connection, kind, partition_rows, max_partitions) for kind in KINDS}


def _plan(connection: Connection, kind: EntityKind, partition_rows: int, max_partitions: int) -> EntityPlan:
    table = f"public.{kind.table}"
    bounds = connection.execute(statement("backfill/id_bounds", table=table)).fetchone()
    assert bounds is not None
    if bounds["last_id"] is None:
        return EntityPlan(kind.name, 0, 0, 0, ())
    first, last = bounds["first_id"], bounds["last_id"]
    within = {"after": first - 1, "through": last}
    counted = connection.execute(statement("backfill/rows_in_range", table=table), within).fetchone()
    assert counted is not None
    rows = max(partition_rows, -(-counted["rows"] // max_partitions))
    ends = connection.execute(statement("backfill/partition_ends", table=table), {"through": last, "rows": rows})
    partitions = partitions_of(kind.name, first, last, [row["id"] for row in ends])
    return EntityPlan(kind.name, last, counted["rows"], counted["linked"], partitions)


def partitions_of(entity: EntityName, first: int, last: int, ends: Sequence[int]) -> tuple[Partition, ...]:
    """The partitions that end at these ids, and one through `last`; the first begins at id 1, or at a `first` below."""
    bounds = [min(first - 1, 0), *(end for end in ends if end < last), last]
    return tuple(Partition(entity, f"{after + 1:012d}", after, through) for after, through in pairwise(bounds))


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


def blocking_findings_outcome(connection: Connection) -> CheckOutcome:
    """Whether the latest data quality report lets the backfill start."""
    report = evidence.require(connection, "data_quality", made_by="asset data_quality_report")
    blocking = [row for row in report.content["findings"] if row["effect"] == "blocks" and row["count"]]
    return CheckOutcome(
        name="no_finding_blocks_the_backfill",
        count=len(blocking),
        sample=tuple(blocking),
        description="No finding of the data quality report blocks the backfill.",
        remedy="Repair each finding as its remedy describes, then materialize data_quality_report again.",
    )
