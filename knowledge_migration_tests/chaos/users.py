"""The users of a round: threads that extract, create, edit, delete and read over HTTP.

Each owns the rows that it edits, so that the order of acknowledged changes of a row is known. The same seed makes the same
choices; the answers depend on the round.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from knowledge_migration_tests.chaos.journal import NAMES, Extraction, Journal, Table

API = "/api/v1"
TIMEOUT_SECONDS = 60.0
WORDS = ("audit", "backup", "cluster", "disk", "error", "fence", "gateway", "host", "index", "journal")
TYPES = ("problem", "solution", "decision", "question", "insight", "pattern", "requirement")
READ: dict[Table, tuple[str, ...]] = {
    "topics": ("name", "description", "icon", "color"),
    "atoms": ("type", "title", "content", "confidence", "user_approved", "meta"),
}

NOTHING_WRITTEN = "nothing was written"
NO_SCHEMA = ("phase 1 of the migration has not been run", "The proposal tables are being removed")
"""What an answer says before phase 1, and while it is rolled back: no fault."""

Turns = Sequence[tuple[Callable[[], None], int]]
"""What a user may do in a turn, each with its share."""


class RefusedError(Exception):
    """A request was answered: the service is not available, and nothing was written."""


class NoAnswerError(Exception):
    """A request got no answer, or one that does not say whether anything was written."""


@dataclass
class Site:
    """What users see: the addresses of the services, the messages and people, the rows that they may edit."""

    urls: Sequence[str]
    message_ids: Sequence[int]
    user_ids: Sequence[int]
    conninfo: str


@dataclass(eq=False)
class User(threading.Thread):
    """One user; `work` is a turn. It ends when `over` is set; an unexpected error is kept in `failure`."""

    site: Site
    journal: Journal
    seed: str
    rows: list[tuple[Table, int]] = field(default_factory=list)
    pause_seconds: float = 0.3

    def __post_init__(self) -> None:
        super().__init__(name=self.seed, daemon=True)
        self.random = random.Random(self.seed)
        self.over = threading.Event()
        self.numbers = 0
        self.turns = 0
        self.failure: BaseException | None = None
        self.inbox: queue.SimpleQueue[tuple[Table, int]] = queue.SimpleQueue()

    def run(self) -> None:
        try:
            with httpx.Client(timeout=TIMEOUT_SECONDS) as self.client:
                while not self.over.wait(self.pause_seconds):
                    while not self.inbox.empty():
                        self.rows.append(self.inbox.get())
                    self.turns += 1
                    self.work()
        except BaseException as error:
            self.failure = error

    def work(self) -> None:
        """One turn."""
        raise NotImplementedError

    def take_one(self, turns: Turns) -> None:
        """One of the turns, by its share; a refused one has written nothing."""
        turn = self.random.choices([one for one, _ in turns], [share for _, share in turns])[0]
        try:
            turn()
        except NoAnswerError:
            self.journal.no_answer()
        except RefusedError:
            return

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The answer of one of the services.

        Raises `NoAnswerError` when it does not say whether it wrote, `RefusedError` when it says that it did not.
        """
        url = self.random.choice(self.site.urls)
        try:
            answer = self.client.request(method, f"{url}{API}{path}", json=body)
        except httpx.ConnectError as error:  # it was not sent
            time.sleep(0.2)
            raise RefusedError(repr(error)) from error
        except httpx.HTTPError as error:
            time.sleep(0.05)
            raise NoAnswerError(repr(error)) from error
        if answer.status_code == 503 and any(one in answer.text for one in NO_SCHEMA):
            raise RefusedError(answer.text)
        if answer.status_code >= 500:
            self.journal.failed(time.monotonic(), f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            time.sleep(0.05)
            raise (RefusedError if NOTHING_WRITTEN in answer.text.lower() else NoAnswerError)(answer.text)
        return answer

    def new_name(self) -> str:
        """A name that nobody else uses."""
        self.numbers += 1
        return f"{self.seed} {self.numbers} {self.random.choice(WORDS)}"

    def text(self) -> str:
        """Some words."""
        return " ".join(self.random.choices(WORDS, k=6))

    def own(self, table: Table | None = None) -> tuple[Table, int] | None:
        """One of its rows that may be written."""
        free = [key for key in self.rows if table in (None, key[0]) and self.settled(key)]
        return self.random.choice(free) if free else None

    def settled(self, key: tuple[Table, int]) -> bool:
        """Whether the last change of the row is known."""
        row = self.journal.rows.get(key)
        return row is None or row.settled

    def new_values(self, table: Table) -> dict[str, Any]:
        """The values of a row to create."""
        if table == "topics":
            return {"name": self.new_name(), "description": self.text(), "icon": "FolderIcon", "color": "#64748B"}
        return {
            "type": self.random.choice(TYPES),
            "title": self.new_name(),
            "content": self.text(),
            "confidence": self.random.choice((None, 0.0, 0.73, 1.0)),
            "user_approved": self.random.random() < 0.5,
            "meta": self.random.choice((None, {"by": "a user", "list": [1, 2.5, None]})),
        }

    def changes(self, table: Table) -> dict[str, Any]:
        """New values for a row; they differ from those before."""
        self.numbers += 1
        column = "description" if table == "topics" else "content"
        return {column: f"{self.text()} {self.seed} {self.numbers}"}


class ApiUser(User):
    """A user of the application: extracts, creates, edits, deletes, reads."""

    def work(self) -> None:
        turns: Turns = (
            (self.extract, 25),
            (lambda: self.create("topics"), 8),
            (lambda: self.create("atoms"), 20),
            (self.edit, 25),
            (self.delete, 8),
            (self.read, 14),
        )
        self.take_one(turns)

    def extract(self) -> None:
        messages = self.random.sample(self.site.message_ids, self.random.randint(1, 4))
        body = {"message_ids": messages, "user_id": self.random.choice(self.site.user_ids)}
        answer = self.ask("POST", "/knowledge/extract", body)
        if answer.status_code != 200:
            return
        given = answer.json()
        extraction = Extraction(
            given["mode"],
            given["run_id"],
            *(tuple(given[name]) for name in ("topic_ids", "atom_ids", "topic_proposal_ids", "atom_proposal_ids")),
        )
        self.journal.extracted(extraction)
        for topic_id in extraction.topic_ids:
            self.journal.known("topics", topic_id)
        if extraction.mode != "proposal":  # an approval may link an atom of another user
            for atom_id in extraction.atom_ids:
                self.journal.known("atoms", atom_id)
            for atom_id in extraction.atom_ids:
                self.learn("atoms", atom_id)
                self.rows.append(("atoms", atom_id))

    def learn(self, table: Table, row_id: int) -> None:
        """Reads the values of a row that an answer named."""
        self.journal.known(table, row_id)
        answer = self.ask("GET", f"/{table}/{row_id}")
        if answer.status_code == 200:
            self.journal.known(table, row_id, {name: answer.json()[name] for name in READ[table]})

    def create(self, table: Table) -> None:
        values = self.new_values(table)
        body = dict(values)
        topic = self.own("topics")
        if table == "atoms" and topic:
            body["topic_ids"] = [topic[1]]
        self.journal.creating(table, values[NAMES[table]])
        try:
            answer = self.ask("POST", f"/{table}", body)
        except RefusedError:
            return self.journal.refused_creation(table, values[NAMES[table]])
        if answer.status_code == 201:
            row_id = answer.json()["id"]
            self.journal.created(table, row_id, values)
            self.rows.append((table, row_id))
            if "topic_ids" in body and topic:
                self.journal.relations.add((topic[1], row_id))
        return None

    def edit(self) -> None:
        if not (key := self.own()):
            return self.create("atoms")
        values = self.changes(key[0])
        try:
            answer = self.ask("PATCH", f"/{key[0]}/{key[1]}", values)
        except NoAnswerError:
            return self.journal.unanswered_edit(*key, values)
        if answer.status_code == 200:
            self.journal.edited(*key, values)
        elif answer.status_code == 404:
            self.rows.remove(key)
        return None

    def delete(self) -> None:
        if not (key := self.own("atoms")):
            return self.create("atoms")
        try:
            answer = self.ask("DELETE", f"/atoms/{key[1]}")
        except NoAnswerError:
            return self.journal.unanswered_edit(*key, None)
        if answer.status_code == 204:
            self.journal.deleted(*key)
        if answer.status_code in (204, 404):
            self.rows.remove(key)
        return None

    def read(self) -> None:
        self.ask("GET", self.random.choice(("/topics?limit=25", "/atoms?limit=25", "/knowledge/runs")))
