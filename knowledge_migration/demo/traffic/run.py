"""Runs the traffic at a fixed rate until it is stopped, then verifies the acknowledged writes.

A request is due at its time even if earlier ones are unanswered (an open loop), so the queue of a stalled server is
measured as real users experience it. Only while every user waits for an answer, nothing new is due.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from knowledge_migration.demo.traffic.report import Measurements, TrafficReport, report_of
from knowledge_migration.demo.traffic.users import FailedError, InjectedError, RefusedError, Users, weights
from knowledge_migration.demo.traffic.verification import Journal, verify
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement

OnProgress = Callable[[Measurements], None]


@dataclass(frozen=True)
class TrafficOptions:
    """The service, its database, the rate, the duration (None: until stopped) and the seed."""

    url: str
    database: Database
    token: str | None = field(default=None, repr=False)
    requests_per_second: float = 20.0
    seconds: float | None = None
    seed: int = 1
    extract_share: float | None = None
    most_at_once: int = 100
    timeout_seconds: float = 60.0


async def run_traffic(
    options: TrafficOptions, stop: asyncio.Event, *, on_progress: OnProgress | None = None
) -> TrafficReport:
    """Runs until the time is over or `stop` is set, completes the open requests, and verifies.

    Raises `PreconditionError` if the database has no users or no messages.
    """
    user_ids, message_ids = _ids(options.database, "users"), _ids(options.database, "messages")
    if not user_ids or not message_ids:
        raise PreconditionError("There are no users or no messages in this database that traffic could come from.")
    measured, journal, since = Measurements(), Journal(), options.database.now()
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    limits = httpx.Limits(max_connections=options.most_at_once, max_keepalive_connections=options.most_at_once)
    started = time.perf_counter()
    async with httpx.AsyncClient(
        base_url=options.url, headers=headers, timeout=options.timeout_seconds, limits=limits
    ) as client:
        users = Users(client, journal, message_ids, user_ids, options.seed, weights(options.extract_share))
        await _requests(users, measured, options, stop, started, on_progress)
        await users.finish_reviews()
    seconds = time.perf_counter() - started
    return report_of(measured, seconds, journal.acknowledged, verify(options.database, journal, since))


async def _requests(
    users: Users,
    measured: Measurements,
    options: TrafficOptions,
    stop: asyncio.Event,
    started: float,
    on_progress: OnProgress | None,
) -> None:
    places = asyncio.Semaphore(options.most_at_once)
    pause = Pause()
    due, apart = started, 1 / options.requests_per_second
    end = (
        math.inf if options.seconds is None else started + options.seconds - apart / 2
    )  # sums of fractions are not exact
    async with asyncio.TaskGroup() as group:
        while not stop.is_set() and due < end:
            await _until(due, stop)
            every_user_waits = places.locked()
            await places.acquire()
            if every_user_waits:
                due = time.perf_counter()
            group.create_task(_one(users, measured, due, places, pause))
            if on_progress:
                on_progress(measured)
            due += apart


@dataclass
class Pause:
    """The time until which no user extracts because the review queue was full."""

    until: float = 0.0


async def _until(due: float, stop: asyncio.Event) -> None:
    left = due - time.perf_counter()
    if left > 0:
        try:
            async with asyncio.timeout(left):
                await stop.wait()
        except TimeoutError:
            return


async def _one(users: Users, measured: Measurements, due: float, places: asyncio.Semaphore, pause: Pause) -> None:
    operation = users.next_operation()
    if operation == "extract" and time.perf_counter() < pause.until:
        operation = "list_topics"
    status = "answered"
    try:
        await users.do(operation)
    except RefusedError as refusal:
        status, pause.until = "refused", time.perf_counter() + refusal.seconds
    except InjectedError:
        status = "injected"
    except FailedError as failure:
        status = "failed"
        measured.failures.append(f"{operation}: {failure}")
    finally:
        measured.answered(operation, due, time.perf_counter(), status)
        places.release()


def _ids(database: Database, table: str) -> list[int]:
    with database.connect("traffic") as connection:
        rows = connection.execute(statement("demo/traffic_ids", table=f"public.{table}")).fetchall()
    return [row["id"] for row in rows]
