"""The last verdict of each gate, as it is recorded; whoever looks measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.stages import STAGES

STATES = ("dual_write", *STAGES)


@dataclass(frozen=True)
class LastVerdict:
    """What was judged last of one metric, and in which state of the flags."""

    metric: str
    at: datetime
    stage: str
    verdict: str
    value: float | None
    sample_size: int


def last_verdicts(connection: Connection, metrics: Sequence[str], states: Sequence[str] = STATES) -> list[LastVerdict]:
    """The last of each of these metrics in any of these states; those never judged are missing. The guard's do not count."""
    asked = {"metrics": list(metrics), "states": list(states)}
    return [
        LastVerdict(row["metric"], row["at"], row["stage"], row["verdict"], row["value"], row["sample_size"] or 0)
        for row in connection.execute(text_of("cutover/gate_last"), asked)
    ]
