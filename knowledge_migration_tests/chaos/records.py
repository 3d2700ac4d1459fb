"""What the judge compares: the legacy tables at the start of a round, what the operators achieved, and complaints.

It imports nothing of the migration.
"""

import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from knowledge_migration_tests.chaos.journal import Table

TABLES: tuple[Table, ...] = ("topics", "atoms")
PROPOSALS: dict[Table, str] = {"topics": "topic_proposals", "atoms": "atom_proposals"}
VALUES: dict[Table, tuple[str, ...]] = {
    "topics": ("name", "description", "icon", "color"),
    "atoms": ("type", "title", "content", "confidence", "meta"),
}
UNCHANGED: dict[str, LiteralString] = {
    "users": "SELECT id::text AS key, md5(to_jsonb(t)::text) AS value FROM users AS t",
    "sources": "SELECT id::text AS key, md5(to_jsonb(t)::text) AS value FROM sources AS t",
    "messages": "SELECT id::text AS key, md5(concat_ws('|', external_message_id, content, sent_at, source_id, author_id)) "
    "AS value FROM messages",
}
ROWS: dict[Table, LiteralString] = {
    "topics": "SELECT id, to_jsonb(t) AS row FROM topics AS t",
    "atoms": "SELECT id, to_jsonb(t) AS row FROM atoms AS t",
}
LISTED: dict[Table, LiteralString] = {
    "topics": "SELECT proposal.*, run.settings ->> 'mode' AS mode FROM topic_proposals AS proposal "
    "JOIN knowledge_extraction_runs AS run ON run.id = extraction_run_id",
    "atoms": "SELECT proposal.*, run.settings ->> 'mode' AS mode FROM atom_proposals AS proposal "
    "JOIN knowledge_extraction_runs AS run ON run.id = extraction_run_id",
}
LINK, LINKED_AT = "migrated_from_proposal_id", "migration_timestamp"
APPROVED = ("approved", "auto_approved")
COPIES = uuid.UUID(bytes=b"knowledge/origin")
"""The namespace of the ids of backfilled proposals, as sql/schema documents it."""
SHOWN = 200


@dataclass(frozen=True)
class Complaint:
    """A rule that the database violates, and how."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass
class Snapshot:
    """The legacy tables at the start of a round."""

    rows: dict[Table, dict[int, dict[str, Any]]]
    others: dict[str, dict[str, str]]
    relations: set[tuple[int, int]]


@dataclass
class Expected:
    """What the operators of a round have achieved, so that the judge knows which promises apply at its end."""

    schema: bool = False
    schema_removed: bool = False
    complete: bool = False
    dual_write: bool = False
    proposals_on: bool = False
    without_proposal: set[tuple[Table, int]] = field(default_factory=set)
    changed_by_operators: dict[tuple[Table, int], dict[str, Any]] = field(default_factory=dict)
    clamped: set[tuple[Table, int]] = field(default_factory=set)
    exports: Path | None = None
    reasons: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """The complaints, and what was compared."""

    complaints: list[Complaint]
    checked: Counter[str]


Connection = psycopg.Connection[dict[str, Any]]


def connect(url: str) -> Connection:
    """A session of the judge."""
    return psycopg.connect(url, autocommit=True, row_factory=dict_row, application_name="judge")


def reconnect(url: str, seconds: float = 60.0) -> Connection:
    """A session after a crash of the server; raises what the server says if it does not come back."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(psycopg.OperationalError):
            return connect(url)
        time.sleep(0.2)
    return connect(url)


def snapshot(connection: Connection) -> Snapshot:
    """The legacy tables now."""
    rows = {table: {one["id"]: one["row"] for one in connection.execute(ROWS[table])} for table in TABLES}
    others = {
        name: {one["key"]: one["value"] for one in connection.execute(query)} for name, query in UNCHANGED.items()
    }
    relations = {
        (one["topic_id"], one["atom_id"]) for one in connection.execute("SELECT topic_id, atom_id FROM topic_atoms")
    }
    for table in TABLES:
        for row in rows[table].values():
            row.pop(LINK, None)
            row.pop(LINKED_AT, None)
    return Snapshot(rows, others, relations)


def exists(connection: Connection, table: str) -> bool:
    """Whether a table exists."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (table,)).fetchone()
    assert row
    return bool(row["there"])


def links_of(connection: Connection) -> dict[Table, dict[int, str]]:
    """The proposal that each row names as its origin."""
    queries: dict[Table, LiteralString] = {
        "topics": "SELECT id, migrated_from_proposal_id AS link FROM topics WHERE migrated_from_proposal_id IS NOT NULL",
        "atoms": "SELECT id, migrated_from_proposal_id AS link FROM atoms WHERE migrated_from_proposal_id IS NOT NULL",
    }
    return {table: {one["id"]: str(one["link"]) for one in connection.execute(queries[table])} for table in TABLES}
