"""The journal of acknowledged writes, and its comparison with the database: none may be missing, changed, or undeleted.

Proposals that a rollback removed or that were archived are not lost; topics and atoms must always be there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.errors import InvalidSchemaName, UndefinedTable

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement, text_of

Kind = Literal["topic", "atom"]
TABLES: dict[Kind, str] = {"topic": "topics", "atom": "atoms"}


@dataclass
class Entry:
    """One row: the values that were acknowledged last, None after a deletion.

    After a request without an answer its state is uncertain, and it is not verified.
    """

    values: dict[str, Any] | None
    busy: bool = False
    uncertain: bool = False


@dataclass(frozen=True)
class Extraction:
    """The answer of one acknowledged extraction."""

    run_id: str | None
    mode: str
    topic_ids: tuple[int, ...]
    atom_ids: tuple[int, ...]
    topic_proposal_ids: tuple[str, ...]
    atom_proposal_ids: tuple[str, ...]


@dataclass
class Journal:
    """All acknowledged writes of one run of the traffic; it holds only rows that the traffic created.

    `proposes` is true once an extraction wrote proposals, so that there is a queue to review.
    """

    rows: dict[tuple[Kind, int], Entry] = field(default_factory=dict)
    extractions: list[Extraction] = field(default_factory=list)
    acknowledged: int = 0
    proposes: bool = False

    def written(self, kind: Kind, row_id: int, values: dict[str, Any] | None) -> None:
        """A write of a row was acknowledged: its values now, or None for a deletion."""
        entry = self.rows.setdefault((kind, row_id), Entry(values))
        if values is None or entry.values is None:
            entry.values = values
        else:
            entry.values = {**entry.values, **values}
        self.acknowledged += 1

    def extracted(self, answer: dict[str, Any]) -> None:
        """An extraction was acknowledged; its atoms are new rows that the traffic may edit."""
        proposals = (tuple(answer["topic_proposal_ids"]), tuple(answer["atom_proposal_ids"]))
        topics, atoms = tuple(answer["topic_ids"]), tuple(answer["atom_ids"])
        self.proposes = self.proposes or answer["mode"] != "direct"
        self.extractions.append(Extraction(answer["run_id"], answer["mode"], topics, atoms, *proposals))
        if answer["mode"] != "proposal":  # an approval may refer to an atom that another user wrote
            for atom_id in atoms:
                self.rows.setdefault(("atom", atom_id), Entry({}))
        self.acknowledged += 1

    def free(self, kind: Kind) -> list[int]:
        """Rows that certainly exist and that no request is working on."""
        return [
            row_id
            for (entry_kind, row_id), entry in self.rows.items()
            if entry_kind == kind and entry.values is not None and not entry.busy and not entry.uncertain
        ]


@dataclass(frozen=True)
class Lost:
    """An acknowledged write that the database does not hold as acknowledged."""

    what: str
    why: str


@dataclass(frozen=True)
class Verified:
    """The lost writes, and the number of extractions whose proposals a rollback removed."""

    lost: tuple[Lost, ...]
    rolled_back: int = 0


def verify(database: Database, journal: Journal, since: datetime) -> Verified:
    """The acknowledged writes that the database does not hold; a fixed number of statements. Reads only."""
    with database.connect("traffic verification") as connection:
        rows = [lost for kind in TABLES for lost in _lost_rows(connection, journal, kind)]
        topics = list(_lost_topics(connection, journal))
        proposals = list(_lost_proposals(connection, journal))
        if proposals and _rolled_back(connection, since):
            return Verified((*rows, *topics), len(proposals))
    return Verified((*rows, *topics, *proposals))


def _rolled_back(connection: Connection, since: datetime) -> bool:
    try:
        row = connection.execute(text_of("demo/traffic_rolled_back"), {"since": since}).fetchone()
    except (UndefinedTable, InvalidSchemaName):
        return False
    return row is not None and row["rolled_back"]


def _lost_rows(connection: Connection, journal: Journal, kind: Kind) -> Iterator[Lost]:
    entries = {key[1]: entry for key, entry in journal.rows.items() if key[0] == kind and not entry.uncertain}
    query = statement("demo/traffic_rows", table=f"public.{TABLES[kind]}")
    rows = {row["id"]: row["row"] for row in connection.execute(query, {"ids": list(entries)})}
    for row_id, entry in entries.items():
        row = rows.get(row_id)
        if entry.values is None:
            if row is not None:
                yield Lost(f"{kind} {row_id}", "was deleted, and is there")
        elif row is None:
            yield Lost(f"{kind} {row_id}", "was acknowledged, and is not there")
        elif differing := [name for name, value in entry.values.items() if row[name] != value]:
            changes = (f"{name} was {entry.values[name]!r} and is {row[name]!r}" for name in differing)
            yield Lost(f"{kind} {row_id}", "; ".join(changes))


def _lost_topics(connection: Connection, journal: Journal) -> Iterator[Lost]:
    topics = {topic_id for extraction in journal.extractions for topic_id in extraction.topic_ids}
    for missing in sorted(topics - _present(connection, "topics", sorted(topics))):
        yield Lost(f"topic {missing}", "was the answer of an extraction, and is not there")


def _lost_proposals(connection: Connection, journal: Journal) -> Iterator[Lost]:
    extractions = [each for each in journal.extractions if each.mode != "direct"]
    if not extractions:
        return
    run_ids = [UUID(str(each.run_id)) for each in extractions]
    topic_proposals = [UUID(key) for each in extractions for key in each.topic_proposal_ids]
    atom_proposals = [UUID(key) for each in extractions for key in each.atom_proposal_ids]
    present = _existing(connection, text_of("demo/traffic_archived"), run_ids)
    present |= _existing(connection, text_of("demo/traffic_runs"), run_ids)
    present |= _present(connection, "topic_proposals", topic_proposals)
    present |= _present(connection, "atom_proposals", atom_proposals)
    for each in extractions:
        parts = {"its run": str(each.run_id)}
        parts |= {f"topic proposal {key}": key for key in each.topic_proposal_ids}
        parts |= {f"atom proposal {key}": key for key in each.atom_proposal_ids}
        if missing := [part for part, key in parts.items() if UUID(key) not in present]:
            yield Lost(f"extraction {each.run_id} ({each.mode})", f"has lost {', '.join(missing)}")


def _present(connection: Connection, table: str, ids: Sequence[Any]) -> set[Any]:
    return _existing(connection, statement("demo/traffic_present", table=f"public.{table}"), ids)


def _existing(connection: Connection, query: Any, ids: Sequence[Any]) -> set[Any]:
    """The ids that exist; none if their table does not."""
    try:
        return {row["id"] for row in connection.execute(query, {"ids": list(ids)})}
    except UndefinedTable:
        return set()
