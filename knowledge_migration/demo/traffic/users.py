"""The users of the traffic: a seeded mix of reads, extractions, reviews, and creations, edits and deletions of own rows."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from knowledge_migration.demo.traffic.verification import Journal, Kind

API = "/api/v1"
ATOM_TYPES = ("problem", "solution", "decision", "question", "insight", "pattern", "requirement")

WORDS = ("a", "live", "application", "keeps", "its", "data", "while", "its", "schema", "moves")

PROBES = "probe-"  # the prefix of topics that the migration's own probe writes and removes a moment later
INJECTED = "Injected fault"  # the beginning of the problem's detail for an injected fault

# shares of their sum: mostly reads, and a good share of extractions
WEIGHTS = {
    "list_topics": 12,
    "list_atoms": 12,
    "read_topic": 14,
    "atoms_of_topic": 10,
    "extract": 20,
    "create_topic": 5,
    "create_atom": 8,
    "edit_topic": 5,
    "edit_atom": 8,
    "delete_atom": 6,
    "review": 8,
}
REVIEWED_PAGE, REVIEWED_AT_ONCE = 50, 10
FINISH_REVIEWS_SECONDS = 30.0
APPROVED_SHARE = 0.8


def weights(extract_share: float | None = None) -> dict[str, float]:
    """The weights, with extractions at the given share of all requests (0 to 1), if any."""
    if extract_share is None:
        return dict(WEIGHTS)
    others = sum(weight for operation, weight in WEIGHTS.items() if operation != "extract")
    scaled = {operation: weight * (1 - extract_share) / others for operation, weight in WEIGHTS.items()}
    return {**scaled, "extract": extract_share}


class RefusedError(Exception):
    """The review queue is full (429), which is no failure; the service accepts again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the review queue is full")
        self.seconds = seconds


class FailedError(Exception):
    """An unexpected answer, or none."""


class InjectedError(Exception):
    """A failure that the service was told to produce; it must write nothing."""


@dataclass
class Users:
    """All users of one run of the traffic, with their state; deterministic for a seed except for the order of answers."""

    client: httpx.AsyncClient
    journal: Journal
    message_ids: list[int]
    user_ids: list[int]
    seed: int
    weights: dict[str, float] = field(default_factory=weights)
    known_topics: list[int] = field(default_factory=list)
    cursors: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.numbers = 0
        self.reviewing = asyncio.Lock()

    def next_operation(self) -> str:
        """The next operation."""
        return self.random.choices(list(self.weights), list(self.weights.values()))[0]

    async def do(self, operation: str) -> None:
        """Performs an operation; raises `RefusedError`, `InjectedError` or `FailedError`."""
        actions: dict[str, Callable[[], Awaitable[None]]] = {
            "list_topics": lambda: self._list("topics"),
            "list_atoms": lambda: self._list("atoms"),
            "read_topic": lambda: self._topic(""),
            "atoms_of_topic": lambda: self._topic("/atoms"),
            "extract": self._extract,
            "create_topic": self._create_topic,
            "create_atom": self._create_atom,
            "edit_topic": lambda: self._edit("topic"),
            "edit_atom": lambda: self._edit("atom"),
            "delete_atom": self._delete_atom,
            "review": self._review,
        }
        await actions[operation]()

    async def _ask(self, method: str, path: str, *expected: int, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = await self.client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise FailedError(f"{method} {path}: {type(error).__name__} {error}") from error
        if answer.status_code == 429:
            raise RefusedError(float(answer.headers.get("Retry-After", "1")))
        if answer.status_code == 500 and _detail(answer).startswith(INJECTED):
            raise InjectedError
        if answer.status_code not in expected:
            raise FailedError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    async def _list(self, what: str) -> None:
        cursor = self.cursors.get(what)
        page = await self._ask("GET", f"{API}/{what}?limit=25" + (f"&cursor={cursor}" if cursor else ""), 200)
        self.cursors[what] = page["next_cursor"]
        if what == "topics":
            lasting = [item["id"] for item in page["items"] if not item["name"].startswith(PROBES)]
            self.known_topics = (self.known_topics + lasting)[-500:]

    async def _topic(self, suffix: str) -> None:
        if not self.known_topics:
            return await self._list("topics")
        topic_id = self.random.choice(self.known_topics)
        await self._ask("GET", f"{API}/topics/{topic_id}{suffix}", 200)
        return None

    async def _extract(self) -> None:
        count = self.random.randint(1, 4)
        body = {
            "message_ids": self.random.sample(self.message_ids, min(count, len(self.message_ids))),
            "user_id": self.random.choice(self.user_ids),
        }
        self.journal.extracted(await self._ask("POST", f"{API}/knowledge/extract", 200, body=body))

    async def _create_topic(self) -> None:
        values = {"name": self._name("topic"), "description": self._text(), "icon": "FolderIcon", "color": "#64748B"}
        created = await self._ask("POST", f"{API}/topics", 201, body=values)
        self.journal.written("topic", created["id"], values)

    async def _create_atom(self) -> None:
        values = {
            "type": self.random.choice(ATOM_TYPES),
            "title": self._name("atom"),
            "content": self._text(),
            "confidence": self.random.choice([None, 0.0, 0.73, 1.0]),
            "user_approved": self.random.random() < 0.5,
            "meta": self.random.choice([None, {"by": "traffic", "list": [1, 2.5, None]}]),
        }
        topics = self.random.sample(self.known_topics, min(2, len(self.known_topics)))
        created = await self._ask("POST", f"{API}/atoms", 201, body={**values, "topic_ids": topics})
        self.journal.written("atom", created["id"], values)

    async def _edit(self, kind: Kind) -> None:
        row_id = self._one_of_ours(kind)
        if row_id is None:
            return await (self._create_topic() if kind == "topic" else self._create_atom())
        values = {"description": self._text()} if kind == "topic" else {"content": self._text(), "confidence": 0.5}
        with self._busy(kind, row_id):
            await self._ask("PATCH", f"{API}/{kind}s/{row_id}", 200, body=values)
            self.journal.written(kind, row_id, values)
        return None

    async def _delete_atom(self) -> None:
        row_id = self._one_of_ours("atom")
        if row_id is None:
            return await self._create_atom()
        with self._busy("atom", row_id):
            await self._ask("DELETE", f"{API}/atoms/{row_id}", 204)
            self.journal.written("atom", row_id, None)
        return None

    async def _review(self) -> None:
        """Reviewers decide about a page of the queue, the most confident first; without a queue or while busy, they read."""
        if not self.journal.proposes or self.reviewing.locked():
            return await self._list("topics")
        async with self.reviewing:
            await self._decide_page()
        return None

    async def finish_reviews(self) -> None:
        """Decides about what still waits, page by page, for some seconds."""
        with suppress(TimeoutError, FailedError):
            async with asyncio.timeout(FINISH_REVIEWS_SECONDS), self.reviewing:
                while self.journal.proposes and await self._decide_page() == REVIEWED_PAGE:
                    continue

    async def _decide_page(self) -> int:
        """The number of proposals of the page; several reviewers share it."""
        page = await self._ask("GET", f"{API}/knowledge/proposals?limit={REVIEWED_PAGE}", 200)
        ids = [item["id"] for item in page["items"]]
        shares = (ids[first : first + REVIEWED_AT_ONCE] for first in range(0, len(ids), REVIEWED_AT_ONCE))
        await asyncio.gather(*map(self._decide, shares))
        return len(ids)

    async def _decide(self, proposal_ids: list[str]) -> None:
        body = {
            "action": "approve" if self.random.random() < APPROVED_SHARE else "reject",
            "proposal_ids": proposal_ids,
            "user_id": self.random.choice(self.user_ids),
            "notes": "reviewed in the traffic",
        }
        await self._ask("POST", f"{API}/knowledge/proposals/bulk", 200, body=body)

    def _one_of_ours(self, kind: Kind) -> int | None:
        free = self.journal.free(kind)
        return self.random.choice(free) if free else None

    @contextmanager
    def _busy(self, kind: Kind, row_id: int) -> Iterator[None]:
        """Reserves the row for one request; without an answer its state is uncertain afterwards."""
        entry = self.journal.rows[kind, row_id]
        entry.busy = True
        try:
            yield
        except BaseException:
            entry.uncertain = True
            raise
        finally:
            entry.busy = False

    def _name(self, kind: str) -> str:
        self.numbers += 1
        return f"traffic {kind} {self.seed:x}-{self.numbers}-{self.random.getrandbits(40):x}"

    def _text(self) -> str:
        return " ".join(self.random.choices(WORDS, k=12))


def _detail(answer: httpx.Response) -> str:
    """The detail of a problem document; empty for any other answer."""
    try:
        problem = answer.json()
    except ValueError:
        return ""
    return str(problem.get("detail", "")) if isinstance(problem, dict) else ""
