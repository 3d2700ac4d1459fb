"""The load test (strategy §9.3): concurrent extractions through the live API, timed; all rows are removed afterwards.

The messages are copies of the application's latest ones, different in each extraction (ERRATA V10). The limits are those of
the gates: p95, errors, requests without a connection. A refusal by a full review queue is neither an error nor an extraction.
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
ANSWER_SECONDS, SAMPLING_SECONDS, SETTLE_SECONDS = 120.0, 0.25, 3.0
POOL = 'knowledge_pool_connections{state="'


@dataclass(frozen=True)
class LoadTest:
    """Durations in seconds and counts of the extractions; `pool_*` in connections."""

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
        """Each limit that is exceeded; a test without an extraction is a problem."""
        problems = []
        if self.p95_seconds is None:
            problems.append(f"no extraction was answered ({self.refused} refused, {self.errors} errors)")
        elif self.p95_seconds >= self.limit_seconds:
            problems.append(f"p95 is {self.p95_seconds:.2f} s (limit {self.limit_seconds:g} s)")
        if self.errors:
            problems.append(f"{self.errors} of {self.requests} requests failed")
        if self.pool_timeouts:
            problems.append(f"{self.pool_timeouts} requests got no database connection in time")
        if self.answered and self.refused > self.answered:
            problems.append(f"the full review queue refused {self.refused} requests, so the sample is small")
        return tuple(problems)

    @property
    def passed(self) -> bool:
        """Whether no limit is exceeded."""
        return not self.problems

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence and a table."""
        kept = [one for removed in self.removed for one in removed.kept]
        plain = {key: value for key, value in vars(self).items() if key != "removed"}
        return {**plain, "passed": self.passed, "problems": list(self.problems), "kept": kept}


@dataclass
class _Answers:
    """The answers so far. It has state, so it is a class."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    used: list[int] = field(default_factory=list)
    size: int | None = None

    def measured(self) -> dict[str, Any]:
        """The fields of `LoadTest` that the answers determine."""
        p50, p95, p99 = (value / 1000 for value in percentiles_ms(self.seconds)) if self.seconds else (None,) * 3
        refused, answered = self.statuses["429"], len(self.seconds)
        return {
            "answered": answered,
            "errors": self.statuses.total() - answered - refused,
            "refused": refused,
            "statuses": dict(self.statuses),
            "p50_seconds": p50,
            "p95_seconds": p95,
            "p99_seconds": p99,
            "max_seconds": max(self.seconds, default=None),
            "mode": ", ".join(sorted(self.modes)),
            "pool_size": self.size,
            "pool_used_max": max(self.used, default=None),
        }


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
    """Loads the service, waits for all answers, removes the rows, and records the evidence.

    Raises `PreconditionError` in direct mode, whose writes cannot be attributed reliably under concurrent load;
    `VerificationError` for an unhealthy service; and the errors of `synthetic_messages`.
    """
    body = health(address)
    if body.get("state") == "off":
        raise PreconditionError(
            "The flags are off. In direct mode no record attributes topics to an extraction, so they could not be removed. "
            "Switch dual write on (phase 2), or test a clone."
        )
    (limit,) = (gate.limit_seconds for gate in gates if gate.metric == "slow_extractions")
    assert limit is not None  # the table of gates defines it
    with database.connect("load test") as connection:
        require_phase_1(connection)
        require_this_database(connection, str(body["process"]))
        since = database.now()
        with synthetic_messages(connection, _texts(connection, MESSAGES_EACH * requests)) as (mark, removed):
            users = user_ids(connection)
            started = time.perf_counter()
            answers = asyncio.run(_load(address, mark.message_ids, users, concurrency, requests, on_answer))
            seconds = time.perf_counter() - started
            time.sleep(SETTLE_SECONDS)  # the service writes its measurements every two seconds
            row = connection.execute(text_of("validation/functional_pool_timeouts"), {"since": since}).fetchone()
        result = LoadTest(
            concurrency=concurrency,
            requests=requests,
            limit_seconds=limit,
            pool_timeouts=int(row["pool_timeouts"]) if row else 0,
            seconds=seconds,
            removed=tuple(removed),
            **answers.measured(),
        )
        evidence.record(connection, KIND, result.to_evidence(), dagster_run_id=dagster_run_id)
    return result


def _texts(connection: Connection, number: int) -> list[str]:
    texts = [row["content"] for row in connection.execute(text_of("validation/synthetic_texts"), {"limit": number})]
    if not texts:
        raise PreconditionError("This database has no message with a text of 20 to 4,000 characters to copy.")
    return [texts[place % len(texts)] for place in range(number)]


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
        sampling = asyncio.create_task(_sample_pool(client, answers))

        async def one(number: int) -> None:
            ids = list(message_ids[MESSAGES_EACH * number : MESSAGES_EACH * (number + 1)])
            async with gate:
                await _extract(client, ids, users[number % len(users)], answers)
            on_answer(answers.statuses.total())

        await asyncio.gather(*(one(number) for number in range(requests)))
        sampling.cancel()
    return answers


async def _extract(client: httpx.AsyncClient, ids: list[int], user: int, answers: _Answers) -> None:
    started = time.perf_counter()
    try:
        answer = await client.post("/api/v1/knowledge/extract", json={"message_ids": ids, "user_id": user})
    except httpx.HTTPError as error:
        answers.statuses[type(error).__name__] += 1
        return
    answers.statuses[str(answer.status_code)] += 1
    if answer.status_code == 200:
        answers.seconds.append(time.perf_counter() - started)
        answers.modes[answer.json()["mode"]] += 1


async def _sample_pool(client: httpx.AsyncClient, answers: _Answers) -> None:
    """Samples the connections in use from /metrics until it is cancelled."""
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
        await asyncio.sleep(SAMPLING_SECONDS)


def load_outcome(result: LoadTest) -> CheckOutcome:
    """Whether the service is within its limits under load."""
    return CheckOutcome(
        "the_load_test_keeps_to_its_limits",
        len(result.problems),
        tuple({"problem": problem} for problem in result.problems),
        f"p95 of {result.concurrency} concurrent extractions is below {result.limit_seconds:g} s, and every request gets a "
        "connection and an answer.",
        "Check the service's processes, KNOWLEDGE_POOL_SIZE and the load of the database, then test again.",
        {"answered": result.answered, "refused": result.refused, "p95_seconds": result.p95_seconds},
    )
