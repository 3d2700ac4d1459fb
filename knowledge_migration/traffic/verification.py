"""Compares the journal with the database: nothing that was acknowledged may be missing, changed, or back again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.statements import statement, text_of
from knowledge_migration.traffic.journal import Extraction, Journal, Kind

TABLES: dict[Kind, str] = {"topic": "topics", "atom": "atoms"}


@dataclass(frozen=True)
class Lost:
    """An acknowledged write that the database does not hold as it was acknowledged."""

    what: str
    why: str


def verify(database: Database, journal: Journal) -> list[Lost]:
    """Everything that was acknowledged and is not so; a few statements however much that is. Reads only."""
    with database.connect("traffic verification") as connection:
        return [
            *(lost for kind in TABLES for lost in _rows(connection, journal, kind)),
            *_extractions(connection, journal),
        ]


def _rows(connection: Connection, journal: Journal, kind: Kind) -> Iterator[Lost]:
    entries = {key[1]: entry for key, entry in journal.rows.items() if key[0] == kind and not entry.uncertain}
    query = statement("traffic/rows", table=f"public.{TABLES[kind]}")
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


def _extractions(connection: Connection, journal: Journal) -> Iterator[Lost]:
    topics = {one for extraction in journal.extractions for one in extraction.topic_ids}
    there = _present(connection, "traffic/topics", sorted(topics))
    for missing in sorted(topics - there):
        yield Lost(f"topic {missing}", "was the answer of an extraction, and is not there")
    proposed = [one for one in journal.extractions if one.mode != "direct"]
    if not proposed:
        return
    runs = _present(connection, "traffic/runs", [UUID(str(one.run_id)) for one in proposed])
    topic_proposals = _present(connection, "traffic/topic_proposals", _uuids(proposed, "topic_proposal_ids"))
    atom_proposals = _present(connection, "traffic/atom_proposals", _uuids(proposed, "atom_proposal_ids"))
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
    return {row["id"] for row in connection.execute(text_of(query), {"ids": list(ids)})}
