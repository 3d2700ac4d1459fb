"""A real extraction through the service's API, compared in both tables, then removed (strategy §4.3, steps 2 and 3).

It extracts from a synthetic message with a unique name, so it touches no row of a user; see `synthetic_messages`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration.engine.validation.synthetic_messages import synthetic_messages, user_ids

TEXTS = (
    "Decision: `{name}` keeps its audit log in PostgreSQL. It must never lose an entry of `{name}`.",
    "Problem: `{name}` fails when the disk is full. The fix for `{name}` is to check the free space before it writes.",
    "How do we test that `{name}` resumes after a crash? Kill it in the middle and run `{name}` again.",
)
"""Every extractor finds a topic and some atoms in each of these texts."""


@dataclass(frozen=True)
class Probe:
    """The rows that the probe's extraction wrote (all removed since), and the duration of the request."""

    mode: str
    topics: int
    atoms: int
    proposals: int
    seconds: float


def probe(
    database: Database,
    address: ServiceAddress,
    *,
    expect: Sequence[str],
    sleep: Callable[[float], None] = time.sleep,
) -> Probe:
    """Extracts, compares, and removes; `expect` lists the modes that the extraction may report.

    Raises `VerificationError` naming each fault, and the errors of `synthetic_messages`.
    """
    name = f"probe-{uuid4().hex[:12]}"
    content = "\n".join(text.format(name=name) for text in TEXTS)
    with (
        database.connect("extraction probe") as connection,
        synthetic_messages(connection, [content], sleep=sleep) as (mark, _),
    ):
        answer, seconds = _extract(address, mark.message_ids[0], user_ids(connection)[0])
        proposals = _compare(connection, answer, expect)
    return Probe(answer["mode"], len(answer["topic_ids"]), len(answer["atom_ids"]), proposals, seconds)


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


def _compare(connection: Connection, answer: dict[str, Any], expect: Sequence[str]) -> int:
    """Compares both tables with the answer; returns the number of proposals."""
    mode = answer["mode"]
    if mode not in expect:
        raise VerificationError(f"The probe's extraction ran in mode {mode}, expected {' or '.join(expect)}.")
    if mode != "proposal" and not (answer["topic_ids"] and answer["atom_ids"]):
        raise VerificationError("The probe's extraction created no topic or no atom, so it is no evidence.")
    if mode == "direct":
        return 0
    rows = connection.execute(text_of("validation/probe_proposals"), {"run": UUID(answer["run_id"])}).fetchall()
    reported = {UUID(one) for one in (*answer["topic_proposal_ids"], *answer["atom_proposal_ids"])}
    faults = [f"proposal {one} is not in the table" for one in reported - {row["proposal_id"] for row in rows}]
    faults += [
        f"{row['entity']} {row['entity_id']} and its proposal {row['proposal_id']} differ or are not linked"
        for row in rows
        if row["entity_id"] is not None and not (row["linked_id"] == row["entity_id"] and row["equal"])
    ]
    if mode == "dual_write":
        linked = {(row["entity"], row["linked_id"]) for row in rows}
        written = [("topic", one) for one in answer["topic_ids"]] + [("atom", one) for one in answer["atom_ids"]]
        faults += [f"{entity} {row_id} has no proposal" for entity, row_id in written if (entity, row_id) not in linked]
    if faults or not rows:
        raise VerificationError(f"Dual write is faulty: {'; '.join(faults) or 'no proposal at all'}.")
    return len(rows)
