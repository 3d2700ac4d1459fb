"""The record of each extraction (strategy §3.1): running, then completed or failed; a killed process's runs are failed later.

`settings` holds mode, process, versions and counts. An extraction reserves places in the review queue while it runs
(strategy §10.2), so a full queue refuses it before a model is called, and no result is ever dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.errors import QueueFullError
from knowledge_migration.knowledge.extraction.model import Message
from knowledge_migration.knowledge.flags import Mode
from knowledge_migration.knowledge.proposals.similarity import SIMILARITY_DUE
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.tables import writer_heartbeat

LONGEST_ERROR = 2_000
ADMISSION_LOCK = 0x6B6E6F77_71756575


@dataclass(frozen=True)
class RunOrigin:
    """Who extracts what, for the record; `reserved` is its number of places in the review queue while it runs."""

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
        settings = {name: getattr(self, name) for name in ("mode", "process", "flag_version", "extractor")}
        return settings | ({"reserved": self.reserved} if self.reserved else {})


def pending_count(connection: sa.Connection, at_most: int | None = None) -> int:
    """Proposals that wait for review; counts no further than `at_most`, so it costs the same with a million of them."""
    waiting = sa.union_all(
        *(
            sa.select(sa.literal(1)).select_from(table).where(table.c.status == "pending").limit(at_most)
            for table in (kind.proposals for kind in KINDS)
        )
    ).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(waiting)).scalar_one())


def admit(connection: sa.Connection, limit: int, retry_after_seconds: int) -> None:
    """Admits one more extraction, or raises `QueueFullError`.

    Holds the admission lock until the caller's transaction ends, which must record the run with its reserved places.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADMISSION_LOCK)))
    reserved = sa.func.coalesce(sa.func.sum(runs.c.settings["reserved"].as_integer()), 0)
    held = int(connection.execute(sa.select(reserved).where(runs.c.status == "running")).scalar_one())
    waiting = pending_count(connection, limit)
    if waiting + held >= limit:
        raise QueueFullError(
            f"{min(waiting, limit)} proposals wait for review and running extractions hold {held} more places "
            f"(limit {limit}). Nothing was extracted and nothing is lost: review proposals, then send these messages again.",
            retry_after_seconds,
        )


def open_run(
    connection: sa.Connection, origin: RunOrigin, messages: Sequence[Message] = (), *, failure: str | None = None
) -> UUID:
    """Records that an extraction has started (or has failed at once) and returns its id."""
    run_id, now = uuid4(), sa.func.clock_timestamp()
    ended = {"status": "failed", "completed_at": now, "error_message": failure[:LONGEST_ERROR]} if failure else {}
    values = {
        "id": run_id,
        "status": "running",
        "message_ids": list(origin.message_ids),
        "message_count": len(origin.message_ids),
        "time_span_seconds": _span_seconds([message.sent_at for message in messages]),
        "settings": origin.settings,
        "started_at": now,
        "created_by_user_id": origin.user_id,
    }
    connection.execute(sa.insert(runs).values(values | ended))
    return run_id


def _span_seconds(moments: Sequence[datetime]) -> int | None:
    return min(int((max(moments) - min(moments)).total_seconds()), 2**31 - 1) if moments else None


def complete_run(connection: sa.Connection, run_id: UUID, origin: RunOrigin, counts: dict[str, int]) -> None:
    """Records the end; the mode is the one that it was written in, which a change of flags may have changed."""
    connection.execute(completion(sa.literal(run_id), sa.literal(completed_settings(origin, counts), JSONB)))


def completed_settings(origin: RunOrigin, counts: dict[str, int], *, similarity_due: bool = False) -> dict[str, Any]:
    """The settings of a completed run; `similarity_due` if there are proposals without a similarity search yet."""
    settings: dict[str, Any] = {**origin.settings, **counts}
    settings.pop("reserved", None)
    return settings | ({SIMILARITY_DUE: True} if similarity_due else {})


def completion(run_id: sa.ColumnElement[UUID], settings: sa.ColumnElement[Any]) -> sa.Update:
    """The statement that completes a run."""
    ended = {"status": "completed", "completed_at": sa.func.clock_timestamp(), "settings": settings}
    return sa.update(runs).where(runs.c.id == run_id).values(ended)


def fail_run(connection: sa.Connection, run_id: UUID, reason: str) -> None:
    """Records the failure; the messages can be extracted again."""
    _fail(connection, runs.c.id == run_id, reason)


def fail_abandoned_runs(connection: sa.Connection, live_seconds: float) -> int:
    """Records the running extractions of processes that ended as failed, which frees their places; returns how many."""
    since = sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, live_seconds)
    alive = sa.select(writer_heartbeat.c.process).where(writer_heartbeat.c.seen_at > since)
    process = runs.c.settings["process"].astext
    abandoned = sa.and_(runs.c.started_at < since, process.is_not(None), process.not_in(alive))
    return _fail(
        connection,
        abandoned,
        "The process that ran this extraction has ended; nothing was written. Extract the messages again.",
    )


def _fail(connection: sa.Connection, which: sa.ColumnElement[bool], reason: str) -> int:
    ended = {"status": "failed", "completed_at": sa.func.clock_timestamp(), "error_message": reason[:LONGEST_ERROR]}
    return int(connection.execute(sa.update(runs).where(runs.c.status == "running", which).values(ended)).rowcount)
