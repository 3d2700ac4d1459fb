"""The review queue and its limit (strategy §10.2): asked before a model is called, so that no result is ever dropped.

Admission is decided one at a time, under an advisory lock: what waits for review plus the places that extractions under
way hold. An extraction holds an estimate; it may turn out larger, and is then kept all the same. Both counts stop at the
limit, so they cost the same with a million proposals.
"""

import sqlalchemy as sa

from knowledge_migration.knowledge.errors import QueueFullError
from knowledge_migration.knowledge.tables import atom_proposals, knowledge_extraction_runs, topic_proposals

ADMISSION_LOCK = 0x6B6E6F77_71756575


def pending_count(connection: sa.Connection, at_most: int | None = None) -> int:
    """Proposals that wait for review; counts no further than `at_most`."""
    waiting = sa.union_all(
        *(
            sa.select(sa.literal(1)).select_from(table).where(table.c.status == "pending").limit(at_most)
            for table in (topic_proposals, atom_proposals)
        )
    ).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(waiting)).scalar_one())


def admit(connection: sa.Connection, limit: int, retry_after_seconds: int) -> None:
    """Lets one more extraction in, or raises `QueueFullError`.

    Holds the admission lock until the caller's transaction ends, which must record the run with its reserved places.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADMISSION_LOCK)))
    runs = knowledge_extraction_runs.c
    reserved = sa.func.coalesce(sa.func.sum(runs.settings["reserved"].as_integer()), 0)
    held = int(connection.execute(sa.select(reserved).where(runs.status == "running")).scalar_one())
    waiting = pending_count(connection, limit)
    if waiting + held >= limit:
        raise QueueFullError(
            f"{min(waiting, limit)} proposals wait for review and extractions under way hold {held} more places "
            f"(limit {limit}). Nothing was extracted and nothing is lost: review proposals, then send these messages again.",
            retry_after_seconds,
        )
