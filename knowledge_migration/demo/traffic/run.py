"""Runs the traffic at a rate, whatever the server does, until it is told to stop; then verifies what was acknowledged.

A request is due at its time, whether or not earlier ones are answered (an open loop): a server that stalls gets a queue
like that of real users, and every second of it is measured.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from knowledge_migration.demo.traffic.journal import Journal
from knowledge_migration.demo.traffic.measurements import Measurements
from knowledge_migration.demo.traffic.report import TrafficReport, report_of
from knowledge_migration.demo.traffic.users import FailedError, InjectedError, RefusedError, Users, weights
from knowledge_migration.demo.traffic.verification import verify
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement

OnProgress = Callable[[Measurements], None]


@dataclass(frozen=True)
class TrafficOptions:
    """Against which service and database, how much, for how long (None: until stopped), from which seed."""

    url: str
    database: Database
    token: str | None = field(default=None, repr=False)
    requests_per_second: float = 20.0
    seconds: float | None = None
    seed: int = 1
    extract_share: float | None = None
    most_at_once: int = 100
    timeout_seconds: float = 30.0


async def run_traffic(
    options: TrafficOptions, stop: asyncio.Event, *, on_progress: OnProgress | None = None
) -> TrafficReport:
    """Runs until the time is over or `stop` is set, finishes what is under way, and verifies.

    Raises `PreconditionError` where there is nothing to extract from.
    """
    users_ids, message_ids = _ids(options.database, "users"), _ids(options.database, "messages")
    if not users_ids or not message_ids:
        raise PreconditionError("There are no users or no messages in this database that traffic could come from.")
    measured, journal, since = Measurements(), Journal(), options.database.now()
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    limits = httpx.Limits(max_connections=options.most_at_once, max_keepalive_connections=options.most_at_once)
    started = time.perf_counter()
    async with httpx.AsyncClient(
        base_url=options.url, headers=headers, timeout=options.timeout_seconds, limits=limits
    ) as client:
        users = Users(client, journal, message_ids, users_ids, options.seed, weights(options.extract_share))
        await _requests(users, measured, options, stop, started, on_progress)
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
    number, due = 0, started
    async with asyncio.TaskGroup() as group:
        while not stop.is_set() and (options.seconds is None or due - started < options.seconds):
            await _until(due, stop)
            await places.acquire()
            group.create_task(_one(users, measured, due, places, pause))
            if on_progress:
                on_progress(measured)
            number += 1
            due = started + number / options.requests_per_second


@dataclass
class Pause:
    """Until when nobody extracts, because the review queue was full."""

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
