"""The relations that an approval makes: atoms under topics, links between atoms, the topics of messages.

A proposed topic or atom may itself still be a proposal then; the relation is made when the second of the two is approved.
Both belong to one run, whose row is locked by everybody who changes the state of its proposals, so neither is missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge.kinds import ATOM, TOPIC
from knowledge_migration.knowledge.tables import atom_links, topic_atoms, topics
from knowledge_migration.knowledge.writing.direct import give_topics, relation_note


@dataclass(frozen=True)
class Related:
    """The rows that were made, so that they can be taken back: (topic, atom), and (from atom, to atom)."""

    topic_atoms: tuple[tuple[int, int], ...] = ()
    atom_links: tuple[tuple[int, int], ...] = ()

    @property
    def as_json(self) -> dict[str, Any]:
        """For the audit entry."""
        return {
            "topic_atoms": [list(pair) for pair in self.topic_atoms],
            "atom_links": [list(p) for p in self.atom_links],
        }


def relate_topic(connection: sa.Connection, proposal: sa.RowMapping, topic_id: int) -> Related:
    """Puts the atoms of its run that stand already under the topic, and gives its messages their topic."""
    mine = str(proposal["id"])
    waiting = [
        row
        for row in _atoms_of_run(connection, proposal["extraction_run_id"])
        if mine in (row["proposed_topic_ids"] or ())
    ]
    give_topics(connection, dict.fromkeys(proposal["message_ids"] or (), topic_id))
    return Related(topic_atoms=_file(connection, [(topic_id, row["entity"], row["confidence"]) for row in waiting]))


def relate_atom(connection: sa.Connection, proposal: sa.RowMapping, atom_id: int) -> Related:
    """Puts the atom under its topics that stand already, and links it with the atoms of its run that do."""
    filed = _file(
        connection,
        [
            (topic_id, atom_id, proposal["confidence"])
            for topic_id in standing_topics(connection, proposal["proposed_topic_ids"] or ())
        ],
    )
    others = {str(row["id"]): row for row in _atoms_of_run(connection, proposal["extraction_run_id"])}
    mine = str(proposal["id"])
    wanted = [
        (atom_id, others[link["proposal"]]["entity"], link["type"])
        for link in proposal["proposed_links"] or ()
        if link["proposal"] in others
    ] + [
        (row["entity"], atom_id, link["type"])
        for key, row in others.items()
        for link in row["proposed_links"] or ()
        if link["proposal"] == mine and key != mine
    ]
    return Related(filed, _link(connection, wanted))


def standing_topics(connection: sa.Connection, references: Sequence[int | str]) -> list[int]:
    """The topics that these references mean and that exist: a number is a topic, a text the id of a topic proposal."""
    numbers = [reference for reference in references if isinstance(reference, int)]
    uuids = [UUID(reference) for reference in references if isinstance(reference, str)]
    found: list[int] = []
    if numbers:
        query = sa.select(topics.c.id).where(topics.c.id.in_(numbers))
        found += connection.execute(query).scalars()
    if uuids:
        resolved = sa.select(TOPIC.entity_of).select_from(TOPIC.joined).where(TOPIC.proposals.c.id.in_(uuids))
        found += [topic_id for topic_id in connection.execute(resolved).scalars() if topic_id is not None]
    return list(dict.fromkeys(found))


def take_back(connection: sa.Connection, related: dict[str, Any]) -> None:
    """Removes relations that an approval made, as its audit entry has them."""
    for table, first, second in ((topic_atoms, "topic_id", "atom_id"), (atom_links, "from_atom_id", "to_atom_id")):
        pairs = [tuple(pair) for pair in related.get(table.name, ())]
        if pairs:
            connection.execute(sa.delete(table).where(sa.tuple_(table.c[first], table.c[second]).in_(pairs)))


def _atoms_of_run(connection: sa.Connection, run_id: UUID) -> Sequence[sa.RowMapping]:
    """The atom proposals of a run that stand for a row."""
    columns = ATOM.proposals.c
    entity = ATOM.entity_of.label("entity")
    query = (
        sa.select(columns.id, columns.confidence, columns.proposed_topic_ids, columns.proposed_links, entity)
        .select_from(ATOM.joined)
        .where(columns.extraction_run_id == run_id)
        .order_by(columns.id)
    )
    return [row for row in connection.execute(query).mappings() if row["entity"] is not None]


def _file(connection: sa.Connection, wanted: Sequence[tuple[int, int, float | None]]) -> tuple[tuple[int, int], ...]:
    if not wanted:
        return ()
    rows = [
        {"topic_id": topic_id, "atom_id": atom_id, "note": relation_note(confidence)}
        for topic_id, atom_id, confidence in wanted
    ]
    made = connection.execute(
        insert(topic_atoms).on_conflict_do_nothing().returning(topic_atoms.c.topic_id, topic_atoms.c.atom_id), rows
    )
    return tuple((row.topic_id, row.atom_id) for row in made)


def _link(connection: sa.Connection, wanted: Sequence[tuple[int, int, str]]) -> tuple[tuple[int, int], ...]:
    rows = [
        {"from_atom_id": source, "to_atom_id": target, "link_type": link_type}
        for source, target, link_type in wanted
        if source != target
    ]
    if not rows:
        return ()
    made = connection.execute(
        insert(atom_links).on_conflict_do_nothing().returning(atom_links.c.from_atom_id, atom_links.c.to_atom_id), rows
    )
    return tuple((row.from_atom_id, row.to_atom_id) for row in made)
