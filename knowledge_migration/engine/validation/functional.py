"""The four scenarios of strategy §9.2, tried on a live service through its API, as one of its users would see them.

Each says pass, fail, or not shown: what the flags, the extractor or a full queue keep from being seen is no pass and no
fault. The flags are never touched; a user is found whose extractions are proposals. The names that are used exist nowhere
else (ERRATA V7, V8), and nothing of a user's is approved.
"""

import random
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.validation.service import ServiceAddress, health, require_this_database
from knowledge_migration.engine.validation.synthetic_messages import Mark, Removed, synthetic_messages, user_ids
from knowledge_migration.knowledge.flags import Flags, read_flags, route

KIND = "functional_validation"
SIMILARITY_SECONDS, PAUSE_SECONDS = 15.0, 0.25

Verdict = Literal["pass", "fail", "not shown"]

TEXTS = (
    "Decision: the {word} register keeps its audit log. The {word} register must never lose an entry. "
    "Problem: the {word} register fails.",
    "Decision: the {word} registers keep an audit log. {Word} registers must never lose an entry. "
    "Problem: {word} registers fail.",
)
"""The second names the topic of the first in another spelling."""


@dataclass(frozen=True)
class Scenario:
    """What one scenario showed."""

    name: str
    verdict: Verdict
    words: str
    seconds: float

    def as_row(self) -> dict[str, Any]:
        """For a table and the evidence."""
        return {"name": self.name, "verdict": self.verdict, "words": self.words, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class FunctionalValidation:
    """All scenarios, the mode that the flags give, and what was removed of earlier validations and of this one."""

    scenarios: tuple[Scenario, ...]
    mode: str
    url: str
    removed: tuple[Removed, ...]

    @property
    def passed(self) -> bool:
        """Whether every scenario passed."""
        return all(one.verdict == "pass" for one in self.scenarios)

    @property
    def kept(self) -> tuple[str, ...]:
        """What could not be removed because somebody refers to it."""
        return tuple(one for removed in self.removed for one in removed.kept)

    def to_evidence(self) -> dict[str, Any]:
        """For the evidence."""
        return {
            "scenarios": [one.as_row() for one in self.scenarios],
            "passed": self.passed,
            "mode": self.mode,
            "url": self.url,
            "removed_rows": self.removed[-1].rows,
            "leftovers_removed": sum(one.rows for one in self.removed[:-1]),
            "kept": list(self.kept),
        }


class NotShownError(Exception):
    """Something keeps a scenario from being seen."""


class BrokenError(Exception):
    """A scenario ended otherwise than it must."""


def validate(
    database: Database,
    address: ServiceAddress,
    *,
    dagster_run_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> FunctionalValidation:
    """Tries all scenarios, removes what they made, and keeps the evidence.

    Raises `VerificationError` when the service is not well, and what `synthetic_messages` raises.
    """
    process = str(health(address)["process"])
    word = "".join(random.choices(string.ascii_lowercase, k=12))
    contents = [text.format(word=word, Word=word.title()) for text in TEXTS]
    with database.connect("functional validation") as connection:
        require_phase_1(connection)
        require_this_database(connection, process)
        with synthetic_messages(connection, contents, sleep=sleep) as (mark, removed):
            trial = _Trial(database, connection, address, word, mark, sleep)
            scenarios = tuple(_tried(name, getattr(trial, name)) for name in SCENARIOS)
        done = FunctionalValidation(scenarios, trial.mode, address.url, tuple(removed))
        evidence.record(connection, KIND, done.to_evidence(), dagster_run_id=dagster_run_id)
    return done


def _tried(name: str, scenario: Callable[[], str]) -> Scenario:
    began = time.perf_counter()
    verdict: Verdict = "pass"
    try:
        words = scenario()
    except NotShownError as error:
        verdict, words = "not shown", str(error)
    except (BrokenError, VerificationError, httpx.HTTPError) as error:
        verdict, words = "fail", str(error)
    return Scenario(name, verdict, words, time.perf_counter() - began)


@dataclass
class _Trial:
    """The scenarios in their order; a later one builds on an earlier. It has state, so it is a class."""

    database: Database
    connection: Connection
    address: ServiceAddress
    word: str
    mark: Mark
    sleep: Callable[[float], None]
    mode: str = "unknown"
    run_id: str | None = None
    topic_id: int | None = None
    _flags: Flags = field(default_factory=Flags)

    def a_new_extraction_creates_proposals(self) -> str:
        """Proposals, and knowledge only of those approved at once."""
        answer = self._extract(self.mark.message_ids[0])
        self.run_id = answer["run_id"]
        told = [*answer["topic_proposal_ids"], *answer["atom_proposal_ids"]]
        if not told:
            raise NotShownError("The extractor found nothing in the validation's message.")
        rows = self._proposals(answer["run_id"])
        missing = set(told) - {str(row["proposal_id"]) for row in rows}
        unapproved = [row for row in rows if row["linked_id"] is not None and row["status"] != "auto_approved"]
        if missing or unapproved:
            raise BrokenError(
                f"{len(missing)} proposals that the service told of are not there; {len(unapproved)} became knowledge "
                "without an approval."
            )
        approved = sum(row["status"] == "auto_approved" for row in rows)
        return f"{len(rows)} proposals, {approved} of them approved at once, and no other knowledge."

    def a_confident_proposal_is_approved_automatically(self) -> str:
        """A proposal as sure as it must be becomes knowledge exactly once, though nobody looks at it."""
        from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible

        flags = self._flags
        if not flags.auto_approve_high_confidence:
            raise NotShownError("Automatic approval is switched off by the flags.")
        proposal = self._insert(f"{self.word} certainty", max(flags.auto_approve_threshold, 0.99))
        with self.database.engine() as engine:
            approve_all_eligible(engine, flags, [proposal])
        found = self._get(f"/api/v1/knowledge/proposals/{proposal}")
        rows = self._topics_of(proposal)
        if found["status"] != "auto_approved" or len(rows) != 1:
            raise BrokenError(
                f"The proposal is {found['status']} and has {len(rows)} topics; auto_approved and one were due."
            )
        return f"A proposal of {found['confidence']:g} was approved, and has one topic."

    def a_manual_approval_creates_the_entity(self) -> str:
        """One approval makes one topic, a second one none."""
        proposal = self._pending_of_ours() or self._insert(f"{self.word} register", 0.5)
        first, second = (self._post(f"/api/v1/knowledge/proposals/{proposal}/approve") for _ in range(2))
        rows = self._topics_of(proposal)
        if rows != [first["entity_id"]] or second["changed"] or second["entity_id"] != first["entity_id"]:
            raise BrokenError(
                f"After two approvals the proposal has {len(rows)} topics; one, made by the first, was due."
            )
        self.topic_id = rows[0]
        return "Approved through the API: one topic; a second approval changed nothing."

    def duplicates_are_flagged(self) -> str:
        """Another spelling of that topic's name is flagged, with its score and why."""
        if self.topic_id is None:
            raise NotShownError("No topic was approved that something could be similar to.")
        answer = self._extract(self.mark.message_ids[1])
        ids = answer["topic_proposal_ids"]
        if not ids:
            raise NotShownError("The extractor found no topic in the validation's second message.")
        waited, found = 0.0, []
        while waited < SIMILARITY_SECONDS:
            found = [self._get(f"/api/v1/knowledge/proposals/{one}") for one in ids]
            flagged = [one for one in found if one["similar_entity_id"] == self.topic_id]
            if flagged:
                one = flagged[0]
                return (
                    f"{one['name']!r} is flagged as similar ({one['similarity_type']}, {one['similarity_score']:.2f}) to "
                    "the topic that was approved."
                )
            self.sleep(PAUSE_SECONDS)
            waited += PAUSE_SECONDS
        if not any(self.word in one["name"].lower() for one in found):
            raise NotShownError("The extractor named the topic otherwise, so nothing similar was extracted.")
        raise BrokenError(
            f"None of {', '.join(repr(one['name']) for one in found)} is flagged after {SIMILARITY_SECONDS:g} s."
        )

    def _extract(self, message_id: int) -> dict[str, Any]:
        """An extraction in proposal mode."""
        user = self._user()
        answer = self._ask("POST", "/api/v1/knowledge/extract", {"message_ids": [message_id], "user_id": user})
        if answer.status_code == 429:
            raise NotShownError(f"The review queue is full: {answer.json().get('detail', '')}")
        body: dict[str, Any] = self._well(answer)
        self.mode = body["mode"]
        if self.mode != "proposal":
            raise NotShownError(f"The extraction ran in mode {self.mode}: the flags changed meanwhile.")
        return body

    def _user(self) -> int:
        """A user whose extractions are proposals under the present flags."""
        with self.database.begin() as transaction:
            flags = read_flags(transaction)
        self._flags = flags or Flags()
        listed = self._flags.admin_user_ids if self._flags.enabled else ()
        users = user_ids(self.connection)
        for user in (*(one for one in users if one in listed), *users):
            if route(self._flags, user, self.mark.message_ids) == "proposal":
                return user
        self.mode = self._flags.state
        raise NotShownError(
            f"The flags stand at {self._flags.state.replace('_', ' ')}: nobody's extractions are proposals only."
        )

    def _insert(self, name: str, confidence: float) -> UUID:
        """A pending proposal of our own, in the run of our own message."""
        if self.run_id is None:
            raise NotShownError("There is no extraction of the validation that a proposal could belong to.")
        proposal = uuid4()
        values = {"id": proposal, "run": UUID(self.run_id), "name": name, "confidence": confidence}
        self.connection.execute(text_of("validation/functional_insert_proposal"), values)
        return proposal

    def _pending_of_ours(self) -> UUID | None:
        """What the extractor proposed under our own word, if it did; nothing else is ever approved."""
        if self.run_id is None:
            raise NotShownError("There is no extraction of the validation, so there is nothing to approve.")
        asked = {"run": UUID(self.run_id), "name": f"%{self.word}%"}
        row = self.connection.execute(text_of("validation/functional_pending_topic"), asked).fetchone()
        return row["id"] if row else None

    def _proposals(self, run_id: str) -> list[dict[str, Any]]:
        return self.connection.execute(text_of("validation/probe_proposals"), {"run": UUID(run_id)}).fetchall()

    def _topics_of(self, proposal: UUID) -> list[int]:
        rows = self.connection.execute(text_of("validation/functional_topics_of"), {"proposal": proposal})
        return [row["id"] for row in rows]

    def _get(self, path: str) -> dict[str, Any]:
        return self._well(self._ask("GET", path))

    def _post(self, path: str) -> dict[str, Any]:
        return self._well(self._ask("POST", path, {"notes": self.mark.name}))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        with self.address.client() as client:
            return client.request(method, path, json=body)

    def _well(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code in (401, 403):
            raise NotShownError(
                "The service asks for a token: set KNOWLEDGE_API_REVIEWER_TOKEN or KNOWLEDGE_API_ADMIN_TOKEN."
            )
        if answer.status_code != 200:
            raise BrokenError(
                f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:300]}"
            )
        body: dict[str, Any] = answer.json()
        return body


SCENARIOS: dict[str, str] = {
    "a_new_extraction_creates_proposals": "A new extraction creates proposals, and no knowledge that nobody approved.",
    "a_confident_proposal_is_approved_automatically": "A proposal as sure as it must be is approved without a reviewer.",
    "a_manual_approval_creates_the_entity": "An approval through the API makes one topic, a second one none.",
    "duplicates_are_flagged": "What is spelled nearly like an existing topic is flagged, with its score and why.",
}
"""In the order in which each finds what it builds on."""


def require_allowed(*, allowed: bool, is_demonstration: bool, setting: str, what: str) -> None:
    """Raises `PreconditionError` where users would see the rows and nobody has allowed that."""
    if not allowed and not is_demonstration:
        raise PreconditionError(
            f"{what} writes rows of its own into this database and removes them again; until then users may see them in "
            f"lists and in the review queue. Run it on a clone, or set {setting}=true if that is fine here."
        )
