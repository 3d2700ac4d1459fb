"""Holds the legacy tables against the fingerprint of phase 0: the migration has changed no legacy value (DESIGN §9).

A live application goes on writing, so a range may differ because a user wrote there. Such a range is told apart by the
application's own timestamps; what differs without any is what the migration must answer for.
"""

from knowledge_migration.engine.foundation import evidence, fingerprint
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.fingerprint import Fingerprint


def comparison_outcome(connection: Connection, *, sample: int) -> CheckOutcome:
    """Which key ranges no longer equal the latest fingerprint. Reads every legacy row once."""
    recorded = evidence.require(connection, "legacy_fingerprint", made_by="asset legacy_fingerprint")
    before = Fingerprint.from_evidence(recorded.content)
    after = fingerprint.take(connection, like=before)
    found = [
        {
            "table": difference.table,
            "range": difference.range,
            "before": str(difference.before),
            "now": str(difference.after),
        }
        for difference in fingerprint.differences(before, after)
    ]
    return CheckOutcome(
        name="legacy_rows_equal_the_fingerprint",
        count=len(found),
        sample=tuple(found[:sample]),
        description="Every key range of the legacy tables has the rows and values of the fingerprint.",
        remedy=(
            "Where users have written since, that is expected. Otherwise compare the ranges named here with the "
            "verified backup before going on."
        ),
        numbers={"fingerprint_of": recorded.recorded_at, "ranges": sum(len(t.ranges) for t in before.tables.values())},
    )
