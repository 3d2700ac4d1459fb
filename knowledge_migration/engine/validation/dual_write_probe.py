"""A real extraction through the service's API, followed into both tables, and removed again (strategy §4.3, steps 2 and 3).

It uses a message of its own about a name that nobody else uses, so it touches no row of a user's. What it made is removed
in one transaction, also when it finds a fault; what cannot be removed (somebody refers to it by now) is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.validation.sample_texts import TEXTS

TIMEOUT_SECONDS = 180.0

CLEANUP = (
    "01_message_topic",
    "02_relations",
    "03_links",
    "04_atoms",
    "05_topics",
    "06_message",
)
CLEANUP_OF_PROPOSALS = ("07_atom_proposals", "08_topic_proposals", "09_run")


@dataclass(frozen=True)
class ServiceAddress:
    """Where the service answers, and the token that it asks for, if any."""

    url: str
    token: str | None = None

    def client(self) -> httpx.Client:
        """A client of the API."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Probe:
    """What the probe's extraction wrote, all of it removed since, and how long the request took."""

    mode: str
    topics: int
    atoms: int
    proposals: int
    seconds: float


def health(address: ServiceAddress) -> dict[str, Any]:
    """What the service says of itself; raises `VerificationError` unless it is well."""
    try:
        with address.client() as client:
            answer = client.get("/health")
            body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise VerificationError(f"The service at {address.url} does not answer /health: {error}.") from error
    if answer.status_code != 200 or body.get("database") != "reachable":
        raise VerificationError(f"The service at {address.url} is not well: {answer.status_code}, {body}.")
    return body


def probe(database: Database, address: ServiceAddress, *, expect: Sequence[str]) -> Probe:
    """Extracts, follows, and cleans up; raises `VerificationError` naming what is not as it should be.

    `expect` are the modes that the extraction may report. Raises `PreconditionError` where there is no user or source
    that a message could be from.
    """
    with database.connect("extraction probe") as connection:
        since, message_id, user_id = _message(connection)
        answer: dict[str, Any] = {}
        try:
            answer, seconds = _extract(address, message_id, user_id)
            proposals = _follow(connection, answer, expect)
        finally:
            _remove(connection, since, message_id, answer)
    return Probe(answer["mode"], len(answer["topic_ids"]), len(answer["atom_ids"]), proposals, seconds)


def _message(connection: Connection) -> tuple[datetime, int, int]:
    name = f"probe-{uuid4().hex[:12]}"
    moment = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    content = "\n".join(text.format(name=name) for text in TEXTS)
    row = connection.execute(text_of("validation/probe_message"), {"name": name, "content": content}).fetchone()
    if row is None or moment is None:
        raise PreconditionError(
            "There is no user or no source in this database that a message of the probe could be from."
        )
    return moment["now"], row["id"], row["author_id"]


def _extract(address: ServiceAddress, message_id: int, user_id: int) -> tuple[dict[str, Any], float]:
    try:
        with address.client() as client:
            answer = client.post("/api/v1/knowledge/extract", json={"message_ids": [message_id], "user_id": user_id})
    except httpx.HTTPError as error:
        raise VerificationError(f"The service at {address.url} did not answer an extraction: {error}.") from error
    if answer.status_code != 200:
        raise VerificationError(f"An extraction at {address.url} failed: {answer.status_code} {answer.text[:500]}")
    body: dict[str, Any] = answer.json()
    return body, answer.elapsed.total_seconds()


def _follow(connection: Connection, answer: dict[str, Any], expect: Sequence[str]) -> int:
    """Finds everything in both tables; returns the number of proposals."""
    mode = answer["mode"]
    if mode not in expect:
        raise VerificationError(f"The probe's extraction ran in mode {mode}, expected {' or '.join(expect)}.")
    if mode != "proposal" and not (answer["topic_ids"] and answer["atom_ids"]):
        raise VerificationError("The probe's extraction made no topic or no atom, so it shows nothing.")
    if mode == "direct":
        return 0
    rows = connection.execute(text_of("validation/probe_proposals"), {"run": UUID(answer["run_id"])}).fetchall()
    told = {UUID(one) for one in (*answer["topic_proposal_ids"], *answer["atom_proposal_ids"])}
    faults = [f"proposal {one} is not in the table" for one in told - {row["proposal_id"] for row in rows}]
    faults += [
        f"{row['entity']} {row['entity_id']} and its proposal {row['proposal_id']} differ or are not linked"
        for row in rows
        if row["entity_id"] is not None and not (row["linked_id"] == row["entity_id"] and row["equal"])
    ]
    if mode == "dual_write":
        linked = {(row["entity"], row["linked_id"]) for row in rows}
        made = [("topic", one) for one in answer["topic_ids"]] + [("atom", one) for one in answer["atom_ids"]]
        faults += [f"{entity} {row_id} has no proposal" for entity, row_id in made if (entity, row_id) not in linked]
    if faults or not rows:
        raise VerificationError(
            f"Dual write does not write what it should: {'; '.join(faults) or 'no proposal at all'}."
        )
    return len(rows)


def _remove(connection: Connection, since: datetime, message_id: int, answer: dict[str, Any]) -> None:
    parameters: dict[str, Any] = {"since": since, "message_ids": [message_id]}
    parameters |= {"topic_ids": answer.get("topic_ids", []), "atom_ids": answer.get("atom_ids", [])}
    with_proposals = exists(connection, "public.knowledge_extraction_runs")
    try:
        with connection.transaction():
            if with_proposals:
                runs = connection.execute(text_of("validation/probe_run"), parameters).fetchall()
                parameters["run_ids"] = [row["id"] for row in runs]
            made = connection.execute(text_of("validation/probe_rows"), parameters).fetchall()
            for entity in ("topic", "atom"):
                parameters[f"{entity}_ids"] = [row["id"] for row in made if row["entity"] == entity]
            for name in (*CLEANUP, *(CLEANUP_OF_PROPOSALS if with_proposals else ())):
                connection.execute(text_of(f"validation/probe_cleanup_{name}"), parameters)
    except psycopg.Error as error:
        raise VerificationError(
            f"What the probe made could not be removed ({str(error).strip()}): message {message_id}, topics "
            f"{parameters['topic_ids']}, atoms {parameters['atom_ids']}. Remove them in the application."
        ) from error
