"""The relations that an approval makes: atoms under topics, links between atoms, the topics of messages.

A proposed topic or atom may itself still be a proposal then; the relation is made when the second of the two is approved.
Both belong to one run, whose row is locked by everybody who changes the state of its proposals, so neither is missed.

Taken back is what decisions about proposals of the run have made, as the audit log has it, and what no proposal that still
stands asks for. What was there before them, or was written by hand since, stays.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge.audit import proposal_subject
from knowledge_migration.knowledge.entity_kinds import ATOM, KINDS, TOPIC, EntityKind
from knowledge_migration.knowledge.tables import atom_links, audit_log, messages, topic_atoms, topics

Pair = tuple[int, int]


@dataclass(frozen=True)
class Related:
    """The relations that were made, so that they can be taken back: (topic, atom), (from atom, to atom), (topic, message)."""

    topic_atoms: tuple[Pair, ...] = ()
    atom_links: tuple[Pair, ...] = ()
    messages: tuple[Pair, ...] = ()

    @property
    def as_json(self) -> dict[str, Any]:
        """For the audit entry."""
        return {name: [list(pair) for pair in pairs] for name, pairs in vars(self).items()}


def relation_note(confidence: float | None) -> str:
    """What a relation of an extracted atom says about itself."""
    return "Extracted" if confidence is None else f"Extracted with confidence {confidence:.2f}"


def give_topics(connection: sa.Connection, topic_of: Mapping[int, int]) -> None:
    """Sets the topic of messages that have none; in the order of their ids, so that two of these wait for each other."""
    if not topic_of:
        return
    wanted = sa.values(sa.column("message_id", sa.BigInteger), sa.column("topic_id", sa.Integer), name="wanted").data(
        sorted(topic_of.items())
    )
    connection.execute(
        sa.update(messages)
        .where(messages.c.id == wanted.c.message_id, messages.c.topic_id.is_(None))
        .values(topic_id=wanted.c.topic_id, updated_at=sa.func.now())
    )


def relate_topic(connection: sa.Connection, proposal: sa.RowMapping, topic_id: int) -> Related:
    """Puts the atoms of its run that stand already under the topic, and gives its messages their topic."""
    mine = str(proposal["id"])
    waiting = [
        row
        for row in _atoms_of_run(connection, proposal["extraction_run_id"])
        if mine in (row["proposed_topic_ids"] or ())
    ]
    filed = _file(connection, [(topic_id, row["entity"], row["confidence"]) for row in waiting])
    without_topic = _without_topic(connection, proposal["message_ids"] or ())
    give_topics(connection, dict.fromkeys(without_topic, topic_id))
    return Related(topic_atoms=filed, messages=tuple((topic_id, message_id) for message_id in without_topic))


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


def unrelate(connection: sa.Connection, kind: EntityKind, run_id: UUID, entity_id: int) -> Related:
    """Takes back what decisions about this run have related to a row and nothing that stands asks for any more.

    Called when the proposal that stood for the row does so no longer.
    """
    made, place = _made(connection, run_id), 0 if kind is TOPIC else 1
    filed = [pair for pair in made.topic_atoms if pair[place] == entity_id]
    links = [pair for pair in made.atom_links if kind is ATOM and entity_id in pair]
    given = [pair for pair in made.messages if kind is TOPIC and pair[0] == entity_id]
    taken = Related(
        tuple(sorted(set(filed) - _wanted_topic_atoms(connection, {atom_id for _, atom_id in filed}))),
        tuple(sorted(set(links) - _wanted_links(connection, {source for source, _ in links}))),
        tuple(sorted(set(given) - _wanted_messages(connection, {topic_id for topic_id, _ in given}))),
    )
    _remove(connection, taken)
    return taken


def _made(connection: sa.Connection, run_id: UUID) -> Related:
    """What decisions about the proposals of a run have made and not taken back."""
    subjects = [
        proposal_subject(kind, proposal_id)
        for kind in KINDS
        for proposal_id in connection.execute(
            sa.select(kind.proposals.c.id).where(kind.proposals.c.extraction_run_id == run_id)
        ).scalars()
    ]
    entries = sa.select(audit_log.c.after).where(audit_log.c.subject.in_(subjects)).order_by(audit_log.c.id)
    made: dict[str, dict[Pair, None]] = {name: {} for name in vars(Related())}
    for after in connection.execute(entries).scalars():
        for name, pairs in made.items():
            pairs |= dict.fromkeys(_pairs(after, name))
            for pair in _pairs((after or {}).get("taken_back"), name):
                pairs.pop(pair, None)
    return Related(**{name: tuple(pairs) for name, pairs in made.items()})


def _pairs(entry: dict[str, Any] | None, name: str) -> list[Pair]:
    return [(first, second) for first, second in (entry or {}).get(name, ())]


def _standing_for(connection: sa.Connection, kind: EntityKind, entity_ids: Collection[int]) -> Sequence[sa.RowMapping]:
    """The proposals that stand for one of these rows, as `entity`."""
    if not entity_ids:
        return ()
    ids, origin = sorted(entity_ids), kind.entities.c
    made = sa.select(origin.migrated_from_proposal_id).where(origin.id.in_(ids))
    similar = sa.select(kind.proposals.c.id).where(kind.similar.in_(ids))
    entity = kind.entity_of.label("entity")
    candidates = kind.proposals.c.id.in_(sa.union_all(made, similar).scalar_subquery())
    query = sa.select(kind.proposals, entity).select_from(kind.joined).where(candidates, entity.in_(ids))
    return connection.execute(query).mappings().all()


def _wanted_topic_atoms(connection: sa.Connection, atom_ids: Collection[int]) -> set[Pair]:
    return {
        (topic_id, row["entity"])
        for row in _standing_for(connection, ATOM, atom_ids)
        for topic_id in standing_topics(connection, row["proposed_topic_ids"] or ())
    }


def _wanted_links(connection: sa.Connection, source_ids: Collection[int]) -> set[Pair]:
    wanted = [
        (row["entity"], UUID(link["proposal"]))
        for row in _standing_for(connection, ATOM, source_ids)
        for link in row["proposed_links"] or ()
    ]
    if not wanted:
        return set()
    targets = sa.select(ATOM.proposals.c.id, ATOM.entity_of).select_from(ATOM.joined)
    targets = targets.where(ATOM.proposals.c.id.in_(sorted({proposal_id for _, proposal_id in wanted})))
    entity_of = {row[0]: row[1] for row in connection.execute(targets)}
    return {(source, entity_of[target]) for source, target in wanted if entity_of.get(target) is not None}


def _wanted_messages(connection: sa.Connection, topic_ids: Collection[int]) -> set[Pair]:
    return {
        (row["entity"], message_id)
        for row in _standing_for(connection, TOPIC, topic_ids)
        for message_id in row["message_ids"] or ()
    }


def _remove(connection: sa.Connection, taken: Related) -> None:
    for table, pairs, first, second in (
        (topic_atoms, taken.topic_atoms, "topic_id", "atom_id"),
        (atom_links, taken.atom_links, "from_atom_id", "to_atom_id"),
    ):
        if pairs:
            connection.execute(sa.delete(table).where(sa.tuple_(table.c[first], table.c[second]).in_(pairs)))
    if taken.messages:
        given = sa.tuple_(messages.c.topic_id, messages.c.id).in_(taken.messages)
        connection.execute(sa.update(messages).where(given).values(topic_id=None, updated_at=sa.func.now()))


def _without_topic(connection: sa.Connection, message_ids: Sequence[int]) -> Sequence[int]:
    """Those messages that have no topic, locked in the order of their ids."""
    ids = sorted(set(message_ids))
    if not ids:
        return ()
    query = sa.select(messages.c.id).where(messages.c.id.in_(ids), messages.c.topic_id.is_(None))
    return connection.execute(query.order_by(messages.c.id).with_for_update(key_share=True)).scalars().all()


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


def _file(connection: sa.Connection, wanted: Sequence[tuple[int, int, float | None]]) -> tuple[Pair, ...]:
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


def _link(connection: sa.Connection, wanted: Sequence[tuple[int, int, str]]) -> tuple[Pair, ...]:
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
