"""Compares the journal with the database: nothing that was acknowledged may be missing, changed, or back again.

Proposals that a way back has taken away on purpose are no loss, and are counted apart; so is nothing that was archived.
Topics and atoms are never excused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.errors import InvalidSchemaName, UndefinedTable

from knowledge_migration.demo.traffic.journal import Extraction, Journal, Kind
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.audit import DATA_ROLLBACKS

TABLES: dict[Kind, str] = {"topic": "topics", "atom": "atoms"}


@dataclass(frozen=True)
class Lost:
    """An acknowledged write that the database does not hold as it was acknowledged."""

    what: str
    why: str


@dataclass(frozen=True)
class Verified:
    """What is lost, and of how many extractions a way back has taken the proposals away."""

    lost: tuple[Lost, ...]
    taken_back: int = 0


def verify(database: Database, journal: Journal, since: datetime) -> Verified:
    """Everything that was acknowledged and is not so; a few statements however much that is. Reads only."""
    with database.connect("traffic verification") as connection:
        rows = [lost for kind in TABLES for lost in _rows(connection, journal, kind)]
        topics = list(_topics(connection, journal))
        proposals = list(_extractions(connection, journal))
        if proposals and _taken_back(connection, since):
            return Verified((*rows, *topics), len(proposals))
    return Verified((*rows, *topics, *proposals))


def _taken_back(connection: Connection, since: datetime) -> bool:
    try:
        row = connection.execute(
            text_of("demo/traffic_taken_back"), {"since": since, "rollbacks": list(DATA_ROLLBACKS)}
        ).fetchone()
    except (UndefinedTable, InvalidSchemaName):
        return False
    return row is not None and row["taken"]


def _rows(connection: Connection, journal: Journal, kind: Kind) -> Iterator[Lost]:
    entries = {key[1]: entry for key, entry in journal.rows.items() if key[0] == kind and not entry.uncertain}
    query = statement("demo/traffic_rows", table=f"public.{TABLES[kind]}")
    found = {row["id"]: row["row"] for row in connection.execute(query, {"ids": list(entries)})}
    for row_id, entry in entries.items():
        what = f"{kind} {row_id}"
        if entry.values is None:
            if row_id in found:
                yield Lost(what, "was deleted, and is there")
        elif row_id not in found:
            yield Lost(what, "was acknowledged, and is not there")
        else:
            row = found[row_id]
            differing = {name: (value, row[name]) for name, value in entry.values.items() if row[name] != value}
            if differing:
                words = "; ".join(f"{name} was {told!r} and is {now!r}" for name, (told, now) in differing.items())
                yield Lost(what, words)


def _topics(connection: Connection, journal: Journal) -> Iterator[Lost]:
    topics = {one for extraction in journal.extractions for one in extraction.topic_ids}
    there = _present(connection, "demo/traffic_topics", sorted(topics))
    for missing in sorted(topics - there):
        yield Lost(f"topic {missing}", "was the answer of an extraction, and is not there")


def _extractions(connection: Connection, journal: Journal) -> Iterator[Lost]:
    proposed = [one for one in journal.extractions if one.mode != "direct"]
    if not proposed:
        return
    run_ids = [UUID(str(one.run_id)) for one in proposed]
    archived = _present(connection, "demo/traffic_archived", run_ids)
    runs = archived | _present(connection, "demo/traffic_runs", run_ids)
    topic_proposals = archived | _present(
        connection, "demo/traffic_topic_proposals", _uuids(proposed, "topic_proposal_ids")
    )
    atom_proposals = archived | _present(
        connection, "demo/traffic_atom_proposals", _uuids(proposed, "atom_proposal_ids")
    )
    for one in proposed:
        missing_parts = [
            *(["its run"] if UUID(str(one.run_id)) not in runs else []),
            *(f"topic proposal {key}" for key in one.topic_proposal_ids if UUID(key) not in topic_proposals),
            *(f"atom proposal {key}" for key in one.atom_proposal_ids if UUID(key) not in atom_proposals),
        ]
        if missing_parts:
            yield Lost(f"extraction {one.run_id} ({one.mode})", f"has lost {', '.join(missing_parts)}")


def _uuids(extractions: Sequence[Extraction], attribute: str) -> list[UUID]:
    return [UUID(key) for one in extractions for key in getattr(one, attribute)]


def _present(connection: Connection, query: str, ids: Sequence[Any]) -> set[Any]:
    """Which of these are there; none where their table is not."""
    try:
        return {row["id"] for row in connection.execute(text_of(query), {"ids": list(ids)})}
    except UndefinedTable:
        return set()
