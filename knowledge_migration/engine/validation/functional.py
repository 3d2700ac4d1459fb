"""The four scenarios of strategy §9.2, run on a live service through its API.

Each passes, fails or is inconclusive (the flags, the extractor or a full queue prevent it). It never changes flags: it extracts
for a user whose extractions are proposals. It uses unique names (ERRATA V7, V8) and approves nothing of a user.
"""

import random
import string
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
PROPOSALS = "/api/v1/knowledge/proposals"

Verdict = Literal["pass", "fail", "inconclusive"]

TEXTS = (
    "Decision: the {word} register keeps its audit log. The {word} register must never lose an entry. "
    "Problem: the {word} register fails.",
    "Decision: the {word} registers keep an audit log. {Word} registers must never lose an entry. "
    "Problem: {word} registers fail.",
)
"""The second text names the topic of the first in another spelling."""

SCENARIOS: dict[str, str] = {
    "a_new_extraction_creates_proposals": "A new extraction creates proposals, and no unapproved knowledge.",
    "a_confident_proposal_is_approved_automatically": "A proposal of sufficient confidence is approved without a reviewer.",
    "a_manual_approval_creates_the_entity": "An approval through the API creates one topic; a second approval creates none.",
    "duplicates_are_flagged": "A topic spelled similarly to an existing one is flagged, with its score and type.",
}
"""In dependency order: a later scenario uses results of an earlier one."""


@dataclass(frozen=True)
class Scenario:
    """The result of one scenario."""

    name: str
    verdict: Verdict
    message: str
    seconds: float

    def as_row(self) -> dict[str, Any]:
        """For a table and the evidence."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class FunctionalValidation:
    """All scenarios, the mode of the extractions, and the removals: leftovers of earlier validations, then these rows."""

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
        """The rows that stay because somebody uses them."""
        return tuple(one for removed in self.removed for one in removed.kept)

    @property
    def leftovers(self) -> int:
        """The removed rows of earlier validations."""
        return sum(one.rows for one in self.removed[:-1])

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence."""
        return {
            "scenarios": [one.as_row() for one in self.scenarios],
            "passed": self.passed,
            "mode": self.mode,
            "url": self.url,
            "removed_rows": self.removed[-1].rows,
            "leftovers_removed": self.leftovers,
            "kept": list(self.kept),
        }


class InconclusiveError(Exception):
    """Something prevents a scenario."""


class FailedError(Exception):
    """A scenario has a wrong result."""


def validate(
    database: Database,
    address: ServiceAddress,
    *,
    dagster_run_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> FunctionalValidation:
    """Runs all scenarios, removes their rows, and records the evidence.

    Raises `VerificationError` for an unhealthy service, and the errors of `synthetic_messages`.
    """
    process = str(health(address)["process"])
    word = "".join(random.choices(string.ascii_lowercase, k=12))
    contents = [text.format(word=word, Word=word.title()) for text in TEXTS]
    with database.connect("functional validation") as connection:
        require_phase_1(connection)
        require_this_database(connection, process)
        with synthetic_messages(connection, contents, sleep=sleep) as (mark, removed):
            trial = _Trial(database, connection, address, word, mark, sleep)
            scenarios = tuple(_run(name, getattr(trial, name)) for name in SCENARIOS)
        result = FunctionalValidation(scenarios, trial.mode, address.url, tuple(removed))
        evidence.record(connection, KIND, result.to_evidence(), dagster_run_id=dagster_run_id)
    return result


def _run(name: str, scenario: Callable[[], str]) -> Scenario:
    started = time.perf_counter()
    verdict: Verdict = "pass"
    try:
        message = scenario()
    except InconclusiveError as error:
        verdict, message = "inconclusive", str(error)
    except (FailedError, VerificationError, httpx.HTTPError) as error:
        verdict, message = "fail", str(error)
    return Scenario(name, verdict, message, time.perf_counter() - started)


@dataclass
class _Trial:
    """The scenarios. A later one uses the state of an earlier one, so it is a class."""

    database: Database
    connection: Connection
    address: ServiceAddress
    word: str
    mark: Mark
    sleep: Callable[[float], None]
    mode: str = "unknown"
    run_id: UUID | None = None
    topic_id: int | None = None
    _flags: Flags = field(default_factory=Flags)

    def a_new_extraction_creates_proposals(self) -> str:
        answer = self._extract(self.mark.message_ids[0])
        self.run_id = UUID(answer["run_id"])
        reported = [*answer["topic_proposal_ids"], *answer["atom_proposal_ids"]]
        if not reported:
            raise InconclusiveError("The extractor found nothing in the synthetic message.")
        rows = self.connection.execute(text_of("validation/probe_proposals"), {"run": self.run_id}).fetchall()
        missing = set(reported) - {str(row["proposal_id"]) for row in rows}
        unapproved = [row for row in rows if row["linked_id"] is not None and row["status"] != "auto_approved"]
        if missing or unapproved:
            raise FailedError(
                f"{len(missing)} reported proposals do not exist; {len(unapproved)} became knowledge without an approval."
            )
        approved = sum(row["status"] == "auto_approved" for row in rows)
        return f"{len(rows)} proposals, {approved} of them approved automatically, and no other knowledge."

    def a_confident_proposal_is_approved_automatically(self) -> str:
        from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible

        flags = self._flags
        if not flags.auto_approve_high_confidence:
            raise InconclusiveError("The flags disable automatic approval.")
        proposal = self._insert(f"{self.word} certainty", max(flags.auto_approve_threshold, 0.99))
        with self.database.engine() as engine:
            approve_all_eligible(engine, flags, [proposal])
        body = self._request("GET", f"{PROPOSALS}/{proposal}")
        topics = self._topics_of(proposal)
        if body["status"] != "auto_approved" or len(topics) != 1:
            raise FailedError(
                f"The proposal is {body['status']} and has {len(topics)} topics; expected auto_approved and one topic."
            )
        return f"A proposal of confidence {body['confidence']:g} was approved, and has one topic."

    def a_manual_approval_creates_the_entity(self) -> str:
        proposal = self._pending() or self._insert(f"{self.word} register", 0.5)
        note = {"notes": self.mark.name}
        first, second = (self._request("POST", f"{PROPOSALS}/{proposal}/approve", note) for _ in range(2))
        topics = self._topics_of(proposal)
        if topics != [first["entity_id"]] or second["changed"] or second["entity_id"] != first["entity_id"]:
            raise FailedError(
                f"After two approvals the proposal has {len(topics)} topics; expected the one of the first."
            )
        self.topic_id = topics[0]
        return "The first approval through the API created one topic; a second approval changed nothing."

    def duplicates_are_flagged(self) -> str:
        if self.topic_id is None:
            raise InconclusiveError("No topic was approved, so there is nothing to compare with.")
        ids = self._extract(self.mark.message_ids[1])["topic_proposal_ids"]
        if not ids:
            raise InconclusiveError("The extractor found no topic in the second synthetic message.")
        for _ in range(int(SIMILARITY_SECONDS / PAUSE_SECONDS)):
            proposals = [self._request("GET", f"{PROPOSALS}/{one}") for one in ids]
            for proposal in proposals:
                if proposal["similar_entity_id"] == self.topic_id:
                    return (
                        f"{proposal['name']!r} is flagged as similar to the approved topic "
                        f"({proposal['similarity_type']}, score {proposal['similarity_score']:.2f})."
                    )
            self.sleep(PAUSE_SECONDS)
        if not any(self.word in proposal["name"].lower() for proposal in proposals):
            raise InconclusiveError("The extractor gave the topic another name, so no similar topic was extracted.")
        names = ", ".join(repr(proposal["name"]) for proposal in proposals)
        raise FailedError(f"None of {names} is flagged after {SIMILARITY_SECONDS:g} s.")

    def _extract(self, message_id: int) -> dict[str, Any]:
        """An extraction in proposal mode."""
        asked = {"message_ids": [message_id], "user_id": self._user()}
        body = self._request("POST", "/api/v1/knowledge/extract", asked)
        self.mode = body["mode"]
        if self.mode != "proposal":
            raise InconclusiveError(f"The extraction ran in mode {self.mode}: the flags changed during the validation.")
        return body

    def _user(self) -> int:
        """A user whose extractions are proposals under the present flags; a listed admin if there is one."""
        with self.database.begin() as transaction:
            self._flags = read_flags(transaction) or Flags()
        admins = self._flags.admin_user_ids if self._flags.enabled else ()
        for user in sorted(user_ids(self.connection), key=lambda one: one not in admins):
            if route(self._flags, user, self.mark.message_ids) == "proposal":
                return user
        self.mode = self._flags.state
        raise InconclusiveError(
            f"The flags are at {self._flags.state.replace('_', ' ')}: no extraction is in proposal mode."
        )

    def _insert(self, name: str, confidence: float) -> UUID:
        """A pending proposal in the run of the first synthetic message."""
        if self.run_id is None:
            raise InconclusiveError("There is no extraction of a synthetic message for a proposal.")
        proposal = uuid4()
        values = {"id": proposal, "run": self.run_id, "name": name, "confidence": confidence}
        self.connection.execute(text_of("validation/functional_insert_proposal"), values)
        return proposal

    def _pending(self) -> UUID | None:
        """The pending proposal that the extractor named with our word; no other proposal is ever approved."""
        if self.run_id is None:
            raise InconclusiveError("There is no extraction of a synthetic message to approve.")
        asked = {"run": self.run_id, "name": f"%{self.word}%"}
        row = self.connection.execute(text_of("validation/functional_pending_topic"), asked).fetchone()
        return row["id"] if row else None

    def _topics_of(self, proposal: UUID) -> list[int]:
        rows = self.connection.execute(text_of("validation/functional_topics_of"), {"proposal": proposal})
        return [row["id"] for row in rows]

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with self.address.client() as client:
            answer = client.request(method, path, json=body)
        if answer.status_code in (401, 403):
            raise InconclusiveError(
                "The service requires a token: set KNOWLEDGE_API_REVIEWER_TOKEN or KNOWLEDGE_API_ADMIN_TOKEN."
            )
        content: dict[str, Any] = answer.json() if answer.status_code in (200, 429) else {}
        if answer.status_code == 429:
            raise InconclusiveError(f"The review queue is full: {content.get('detail', '')}")
        if answer.status_code != 200:
            raise FailedError(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        return content


def require_allowed(*, allowed: bool, is_demonstration: bool, setting: str, what: str) -> None:
    """Raises `PreconditionError` unless the operator allows synthetic rows, or it is the demonstration."""
    if not allowed and not is_demonstration:
        raise PreconditionError(
            f"{what} writes synthetic rows into this database and removes them; until then users may see them in lists and "
            f"in the review queue. Run it on a clone, or set {setting}=true to allow it here."
        )
