"""The load test (strategy §9.3): many extractions at once through the live API, timed, and everything removed again.

The messages are copies of the application's own latest ones, each extraction with others (ERRATA V10). Judged against the
limits of the gates: p95, errors, requests that got no connection. A refusal for a full queue is counted apart: it is no
error, and it is no extraction either.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.foundation.timing import percentiles_ms
from knowledge_migration.engine.validation.service import ServiceAddress, health, require_this_database
from knowledge_migration.engine.validation.synthetic_messages import Removed, synthetic_messages, user_ids
from knowledge_migration.thresholds import Gate

KIND = "load_test"
MESSAGES_EACH = 3
ANSWER_SECONDS, LOOK_SECONDS, SETTLE_SECONDS = 120.0, 0.25, 3.0
POOL = 'knowledge_pool_connections{state="'


@dataclass(frozen=True)
class LoadTest:
    """What the extractions took and how they ended; seconds unless said otherwise, `pool_*` in connections."""

    concurrency: int
    requests: int
    answered: int
    errors: int
    refused: int
    statuses: dict[str, int]
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    max_seconds: float | None
    limit_seconds: float
    mode: str
    pool_size: int | None
    pool_used_max: int | None
    pool_timeouts: int
    seconds: float
    removed: tuple[Removed, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not within the limits; a test in which nothing was extracted shows nothing."""
        found = []
        if self.p95_seconds is None:
            found.append(f"no extraction was answered ({self.refused} refused, {self.errors} failed)")
        elif self.p95_seconds >= self.limit_seconds:
            found.append(f"p95 is {self.p95_seconds:.2f} s (limit {self.limit_seconds:g} s)")
        if self.errors:
            found.append(f"{self.errors} of {self.requests} failed")
        if self.pool_timeouts:
            found.append(f"{self.pool_timeouts} requests got no database connection in time")
        if self.answered and self.refused > self.answered:
            found.append(f"{self.refused} were refused because the review queue is full, so that few were measured")
        return tuple(found)

    @property
    def passed(self) -> bool:
        """Whether everything is within the limits."""
        return not self.problems

    def to_evidence(self) -> dict[str, Any]:
        """For the evidence and for a table."""
        kept = [one for removed in self.removed for one in removed.kept]
        plain = {key: value for key, value in vars(self).items() if key != "removed"}
        return {**plain, "passed": self.passed, "problems": list(self.problems), "kept": kept}


@dataclass
class _Answers:
    """What came back so far. It has state, so it is a class."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    used: list[int] = field(default_factory=list)
    size: int | None = None


def run_load_test(
    database: Database,
    address: ServiceAddress,
    gates: Sequence[Gate],
    *,
    concurrency: int,
    requests: int,
    on_answer: Callable[[int], None] = lambda _: None,
    dagster_run_id: str | None = None,
) -> LoadTest:
    """Loads the service, waits until all is answered, removes what was made, and keeps the evidence.

    Raises `PreconditionError` in direct mode, where what is written cannot be told from what users write at that time, and
    what `synthetic_messages` raises; `VerificationError` when the service is not well.
    """
    body = health(address)
    if body.get("state") == "off":
        raise PreconditionError(
            "The flags are off: in direct mode nothing says which topics an extraction made, so they could not be removed "
            "again. Switch dual write on (phase 2), or test a clone."
        )
    with database.connect("load test") as connection:
        require_phase_1(connection)
        require_this_database(connection, str(body["process"]))
        since = database.now()
        with synthetic_messages(connection, _texts(connection, MESSAGES_EACH * requests)) as (mark, removed):
            users = user_ids(connection)
            began = time.perf_counter()
            answers = asyncio.run(_load(address, mark.message_ids, users, concurrency, requests, on_answer))
            seconds = time.perf_counter() - began
            time.sleep(SETTLE_SECONDS)  # the service writes what it measured every two seconds
            row = connection.execute(text_of("validation/functional_pool_timeouts"), {"since": since}).fetchone()
            timeouts = int(row["pool_timeouts"]) if row else 0
        done = _judged(answers, gates, concurrency, requests, timeouts, seconds, tuple(removed))
        evidence.record(connection, KIND, done.to_evidence(), dagster_run_id=dagster_run_id)
    return done


def _texts(connection: Connection, number: int) -> list[str]:
    found = [row["content"] for row in connection.execute(text_of("validation/synthetic_texts"), {"limit": number})]
    if not found:
        raise PreconditionError("There is no message in this database whose text could be extracted from.")
    return [found[place % len(found)] for place in range(number)]


async def _load(
    address: ServiceAddress,
    message_ids: Sequence[int],
    users: Sequence[int],
    concurrency: int,
    requests: int,
    on_answer: Callable[[int], None],
) -> _Answers:
    answers, gate = _Answers(), asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency + 2)
    async with httpx.AsyncClient(
        base_url=address.url, headers=address.headers, timeout=ANSWER_SECONDS, limits=limits
    ) as client:
        looking = asyncio.create_task(_look_at_pool(client, answers))

        async def one(number: int) -> None:
            ids = list(message_ids[MESSAGES_EACH * number : MESSAGES_EACH * (number + 1)])
            async with gate:
                await _extract(client, ids, users[number % len(users)], answers)
            on_answer(answers.statuses.total())

        await asyncio.gather(*(one(number) for number in range(requests)))
        looking.cancel()
    return answers


async def _extract(client: httpx.AsyncClient, ids: list[int], user: int, answers: _Answers) -> None:
    began = time.perf_counter()
    try:
        answer = await client.post("/api/v1/knowledge/extract", json={"message_ids": ids, "user_id": user})
    except httpx.HTTPError as error:
        answers.statuses[type(error).__name__] += 1
        return
    answers.statuses[str(answer.status_code)] += 1
    if answer.status_code == 200:
        answers.seconds.append(time.perf_counter() - began)
        answers.modes[answer.json()["mode"]] += 1


async def _look_at_pool(client: httpx.AsyncClient, answers: _Answers) -> None:
    """The connections in use, as the answering process exports them, for as long as the load lasts."""
    while True:
        try:
            text = (await client.get("/metrics")).text
        except httpx.HTTPError:
            text = ""
        for line in text.splitlines():
            if line.startswith(f'{POOL}used"'):
                answers.used.append(int(float(line.rpartition(" ")[2])))
            elif line.startswith(f'{POOL}size"'):
                answers.size = int(float(line.rpartition(" ")[2]))
        await asyncio.sleep(LOOK_SECONDS)


def _judged(
    answers: _Answers,
    gates: Sequence[Gate],
    concurrency: int,
    requests: int,
    pool_timeouts: int,
    seconds: float,
    removed: tuple[Removed, ...],
) -> LoadTest:
    (limit,) = (gate.limit_seconds for gate in gates if gate.metric == "slow_extractions")
    assert limit is not None  # the table has it
    p50, p95, p99 = (value / 1000 for value in percentiles_ms(answers.seconds)) if answers.seconds else (None,) * 3
    refused, answered = answers.statuses["429"], len(answers.seconds)
    return LoadTest(
        concurrency=concurrency,
        requests=requests,
        answered=answered,
        errors=requests - answered - refused,
        refused=refused,
        statuses=dict(answers.statuses),
        p50_seconds=p50,
        p95_seconds=p95,
        p99_seconds=p99,
        max_seconds=max(answers.seconds, default=None),
        limit_seconds=limit,
        mode=", ".join(sorted(answers.modes)),
        pool_size=answers.size,
        pool_used_max=max(answers.used, default=None),
        pool_timeouts=pool_timeouts,
        seconds=seconds,
        removed=removed,
    )


def load_outcome(done: LoadTest) -> CheckOutcome:
    """Whether the service keeps to its limits under load."""
    return CheckOutcome(
        "the_load_test_keeps_to_its_limits",
        len(done.problems),
        tuple({"problem": words} for words in done.problems),
        f"{done.concurrency} extractions at once keep to {done.limit_seconds:g} s (p95), none fails, each gets a connection.",
        "Look at the service's processes, KNOWLEDGE_POOL_SIZE and the database's load; then test again.",
        {"answered": done.answered, "refused": done.refused, "p95_seconds": done.p95_seconds},
    )
