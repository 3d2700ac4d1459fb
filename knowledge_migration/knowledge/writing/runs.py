"""The record of each extraction (strategy §3.1): running, then completed or failed; what a killed process left is failed.

Mode, process, versions and counts stand in `settings`; the duration is `completed_at - started_at`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from knowledge_migration.knowledge.extraction.model import Message
from knowledge_migration.knowledge.flags import Mode
from knowledge_migration.knowledge.proposals.similarity import SIMILARITY_DUE
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.tables import writer_heartbeat

LONGEST_ERROR = 2_000


@dataclass(frozen=True)
class RunOrigin:
    """Who extracts what, for the record; `reserved` are the places it holds in the review queue while it runs."""

    mode: Mode
    process: str
    flag_version: int
    extractor: str
    message_ids: tuple[int, ...]
    user_id: int | None
    reserved: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """As the run's `settings`."""
        return {
            "mode": self.mode,
            "process": self.process,
            "flag_version": self.flag_version,
            "extractor": self.extractor,
            **({"reserved": self.reserved} if self.reserved else {}),
        }


def open_run(
    connection: sa.Connection, origin: RunOrigin, messages: Sequence[Message] = (), *, failure: str | None = None
) -> UUID:
    """Records that an extraction has begun (or has failed at once) and returns its id."""
    run_id = uuid4()
    moments = [message.sent_at for message in messages]
    now = sa.func.clock_timestamp()
    ended = {"status": "failed", "completed_at": now, "error_message": failure[:LONGEST_ERROR]} if failure else {}
    connection.execute(
        sa.insert(runs).values(
            {
                "id": run_id,
                "status": "running",
                "message_ids": list(origin.message_ids),
                "message_count": len(origin.message_ids),
                "time_span_seconds": _span_seconds(moments),
                "settings": origin.settings,
                "started_at": now,
                "created_by_user_id": origin.user_id,
                **ended,
            }
        )
    )
    return run_id


def _span_seconds(moments: Sequence[datetime]) -> int | None:
    if not moments:
        return None
    return min(int((max(moments) - min(moments)).total_seconds()), 2**31 - 1)


def complete_run(connection: sa.Connection, run_id: UUID, origin: RunOrigin, counts: dict[str, int]) -> None:
    """Records the end; the mode is the one that it was written in, which a change of flags may have changed."""
    connection.execute(completion(sa.literal(run_id), sa.literal(completed_settings(origin, counts), JSONB)))


def completed_settings(origin: RunOrigin, counts: dict[str, int], *, similarity_due: bool = False) -> dict[str, Any]:
    """What a completed run says of itself; `similarity_due` if there are proposals that nothing was compared with yet."""
    settings: dict[str, Any] = {**origin.settings, **counts}
    settings.pop("reserved", None)
    return settings | ({SIMILARITY_DUE: True} if similarity_due else {})


def completion(run_id: sa.ColumnElement[UUID], settings: sa.ColumnElement[Any]) -> sa.Update:
    """The statement that ends a run well."""
    return (
        sa.update(runs)
        .where(runs.c.id == run_id)
        .values(status="completed", completed_at=sa.func.clock_timestamp(), settings=settings)
    )


def fail_run(connection: sa.Connection, run_id: UUID, reason: str) -> None:
    """Records the failure; the messages can be extracted again."""
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == run_id, runs.c.status == "running")
        .values(status="failed", completed_at=sa.func.clock_timestamp(), error_message=reason[:LONGEST_ERROR])
    )


def fail_abandoned_runs(connection: sa.Connection, live_seconds: float) -> int:
    """Marks what a process that is gone left running as failed; returns how many. Its places in the queue are free then."""
    since = sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, live_seconds)
    alive = sa.select(writer_heartbeat.c.process).where(writer_heartbeat.c.seen_at > since)
    process = runs.c.settings["process"].astext
    ended = connection.execute(
        sa.update(runs)
        .where(runs.c.status == "running", runs.c.started_at < since, process.is_not(None), process.not_in(alive))
        .values(
            status="failed",
            completed_at=sa.func.clock_timestamp(),
            error_message="The process that ran this extraction has ended; nothing was written. Extract the messages again.",
        )
    )
    return int(ended.rowcount)
