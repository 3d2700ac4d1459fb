"""The relations that an approval creates: atoms under topics, links between atoms, the topics of messages.

A relation of two proposals of a run is created when the second is approved. An undo removes relations that decisions about the
run created (by the audit log), as they were written, and that no decided proposal asks for; those of users stay.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from knowledge_migration.knowledge.audit import APPROVALS, proposal_subject
from knowledge_migration.knowledge.entity_kinds import ATOM, KINDS, TOPIC, EntityKind
from knowledge_migration.knowledge.tables import atom_links, audit_log, messages, topic_atoms, topics

Pair = tuple[int, int]
ENDS = ("from_atom_id", "to_atom_id")


@dataclass(frozen=True)
class Related:
    """Created relations, so that they can be removed: (topic, atom), (from atom, to atom), (topic, message)."""

    topic_atoms: tuple[Pair, ...] = ()
    atom_links: tuple[Pair, ...] = ()
    messages: tuple[Pair, ...] = ()

    @property
    def as_json(self) -> dict[str, Any]:
        """For the audit entry."""
        return {name: [list(pair) for pair in pairs] for name, pairs in vars(self).items()}


def relation_note(confidence: float | None) -> str:
    """The note of an extracted atom's relation to its topic."""
    return "Extracted" if confidence is None else f"Extracted with confidence {confidence:.2f}"


def give_topics(connection: sa.Connection, topic_of: Mapping[int, int]) -> None:
    """Sets the topic of messages that have none; in the order of their ids, so that two of these wait for each other."""
    if not topic_of:
        return
    wanted = sa.values(sa.column("message_id", sa.BigInteger), sa.column("topic_id", sa.Integer), name="wanted")
    rows = wanted.data(sorted(topic_of.items()))
    given = sa.update(messages).where(messages.c.id == rows.c.message_id, messages.c.topic_id.is_(None))
    connection.execute(given.values(topic_id=rows.c.topic_id, updated_at=sa.func.now()))


def relate_topic(connection: sa.Connection, proposal: sa.RowMapping, topic_id: int) -> Related:
    """Puts the existing atoms of its run under the topic, and gives its messages their topic."""
    ids = sorted(set(proposal["message_ids"] or ()))
    query = sa.select(messages.c.id).where(messages.c.id.in_(ids), messages.c.topic_id.is_(None))
    locked = query.order_by(messages.c.id).with_for_update(key_share=True)
    without_topic = connection.execute(locked).scalars().all() if ids else ()
    give_topics(connection, dict.fromkeys(without_topic, topic_id))
    given = tuple((topic_id, message_id) for message_id in without_topic)
    filed, _ = _asked_for(connection, TOPIC, proposal, topic_id)
    return Related(_inserted(connection, topic_atoms, filed), messages=given)


def relate_atom(connection: sa.Connection, proposal: sa.RowMapping, atom_id: int) -> Related:
    """Puts the atom under its existing topics, and links it with the existing atoms of its run."""
    filed, links = _asked_for(connection, ATOM, proposal, atom_id)
    return Related(_inserted(connection, topic_atoms, filed), _inserted(connection, atom_links, links))


def existing_topics(connection: sa.Connection, references: Sequence[int | str]) -> list[int]:
    """The existing topics of these references: a number is a topic, a text the id of a topic proposal."""
    numbers = [reference for reference in references if isinstance(reference, int)]
    uuids = [UUID(reference) for reference in references if isinstance(reference, str)]
    ids: list[int | None] = []
    if numbers:
        ids += connection.execute(sa.select(topics.c.id).where(topics.c.id.in_(numbers))).scalars()
    if uuids:
        resolved = sa.select(TOPIC.entity_of).select_from(TOPIC.joined).where(TOPIC.proposals.c.id.in_(uuids))
        ids += connection.execute(resolved).scalars()
    return list(dict.fromkeys(topic_id for topic_id in ids if topic_id is not None))


def unrelate(
    connection: sa.Connection, kind: EntityKind, run_id: UUID, entity_id: int
) -> tuple[Related, dict[str, Any]]:
    """Removes the relations to a row that decisions about this run created and no decided proposal asks for any more.

    Call it when the proposal does not represent the row any more.
    """
    created, place = _created(connection, run_id), 0 if kind is TOPIC else 1
    filed = {pair for pair in created.topic_atoms if pair[place] == entity_id}
    links = {pair for pair in created.atom_links if kind is ATOM and entity_id in pair}
    given = {pair for pair in created.messages if kind is TOPIC and pair[0] == entity_id}
    return remove(
        connection,
        Related(
            tuple(sorted(filed - _wanted_topic_atoms(connection, {atom_id for _, atom_id in filed}))),
            tuple(sorted(links - _wanted_links(connection, {source for source, _ in links}))),
            tuple(sorted(given - _wanted_messages(connection, {topic_id for topic_id, _ in given}))),
        ),
    )


def own_relations(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int, *, lock: bool
) -> tuple[Related, Related]:
    """The relations of a row: its own, and all others.

    Its own are those that its approval created, or that an atom's proposal asks for, while they are as they were written.
    """
    filed, links = _asked_for(connection, kind, proposal, entity_id)
    created = _last_approval(connection, kind, proposal)
    if created is None:  # a direct write has given the topic its messages
        created = Related(messages=tuple((entity_id, message_id) for message_id in proposal.get("message_ids") or ()))
    given = set(created.messages)
    if kind is TOPIC:
        filed = [row for row in filed if (row["topic_id"], row["atom_id"]) in created.topic_atoms]
    links = [
        row
        for row in links
        if row["from_atom_id"] == entity_id or (row["from_atom_id"], entity_id) in created.atom_links
    ]
    place = topic_atoms.c.topic_id if kind is TOPIC else topic_atoms.c.atom_id
    own_filed, other_filed = _as_written(connection, topic_atoms, place == entity_id, filed, lock=lock)
    linked = sa.or_(*(atom_links.c[name] == entity_id for name in ENDS)) if kind is ATOM else sa.false()
    own_links, other_links = _as_written(connection, atom_links, linked, links, lock=lock)
    assigned: set[Pair] = set()
    if kind is TOPIC:
        query = sa.select(messages.c.topic_id, messages.c.id).where(messages.c.topic_id == entity_id)
        assigned = {(topic_id, message_id) for topic_id, message_id in connection.execute(query)}
    return (
        Related(own_filed, own_links, tuple(sorted(assigned & given))),
        Related(other_filed, other_links, tuple(sorted(assigned - given))),
    )


def remove(connection: sa.Connection, related: Related) -> tuple[Related, dict[str, Any]]:
    """Removes these relations, but none that a user has changed; returns those removed, and their rows for the audit log."""
    rows: dict[str, Any] = {}
    removed: dict[str, tuple[Pair, ...]] = {}
    for table, pairs in ((topic_atoms, related.topic_atoms), (atom_links, related.atom_links)):
        if pairs:
            these = sa.and_(sa.tuple_(*table.primary_key).in_(pairs), _untouched(table))
            deleted = sa.delete(table).where(these).returning(*table.primary_key, row_as_json(table))
            deleted_rows = sorted((row[0], row[1], row[2]) for row in connection.execute(deleted))
            removed[table.name] = tuple((first, second) for first, second, _ in deleted_rows)
            rows[table.name] = [row for _, _, row in deleted_rows]
    if related.messages:
        assigned = sa.tuple_(messages.c.topic_id, messages.c.id).in_(related.messages)
        connection.execute(sa.update(messages).where(assigned).values(topic_id=None, updated_at=sa.func.now()))
        rows["messages"] = [list(pair) for pair in related.messages]
    return Related(**removed, messages=related.messages), {name: values for name, values in rows.items() if values}


def row_as_json(table: sa.Table) -> sa.ColumnElement[Any]:
    """A whole row, with the columns that only the user's table has."""
    return sa.func.to_jsonb(table.table_valued(), type_=JSONB)


def _untouched(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether a relation has only what an extraction writes."""
    columns = table.c
    if table is atom_links:
        return columns.strength.is_(None)
    extracted = columns.note.regexp_match(f"^{relation_note(None)}( with confidence [01][.][0-9]{{2}})?$")
    return sa.and_(columns.position.is_(None), extracted)


def _as_written(
    connection: sa.Connection,
    table: sa.Table,
    condition: sa.ColumnElement[bool],
    expected: list[dict[str, Any]],
    *,
    lock: bool,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The relations that meet the condition: those that are exactly as expected, and the others."""
    names = [name for name in table.c.keys() if name not in ("created_at", "updated_at")]  # noqa: SIM118
    empty = dict.fromkeys(names)
    written = {tuple((empty | row).values()) for row in expected}
    query = sa.select(*(table.c[name] for name in names)).where(condition).order_by(*table.primary_key)
    rows = [tuple(row) for row in connection.execute(query.with_for_update() if lock else query)]
    own, others = ([row[:2] for row in rows if (row in written) is wanted] for wanted in (True, False))
    return tuple(own), tuple(others)


def _asked_for(
    connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping, entity_id: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of topic_atoms and atom_links that this proposal and the atoms of its run ask for."""
    mine = str(proposal["id"])
    atoms = {str(row["id"]): row for row in _atoms_of_run(connection, proposal["extraction_run_id"])}
    if kind is TOPIC:
        return [
            {"topic_id": entity_id, "atom_id": row["entity"], "note": relation_note(row["confidence"])}
            for row in atoms.values()
            if mine in (row["proposed_topic_ids"] or ())
        ], []
    note = relation_note(proposal["confidence"])
    filed = [
        {"topic_id": topic_id, "atom_id": entity_id, "note": note}
        for topic_id in existing_topics(connection, proposal["proposed_topic_ids"] or ())
    ]
    ends = [
        (entity_id, atoms[link["proposal"]]["entity"], link["type"])
        for link in proposal["proposed_links"] or ()
        if link["proposal"] in atoms
    ] + [
        (row["entity"], entity_id, link["type"])
        for key, row in atoms.items()
        for link in row["proposed_links"] or ()
        if link["proposal"] == mine and key != mine
    ]
    links = [
        {"from_atom_id": source, "to_atom_id": target, "link_type": link_type}
        for source, target, link_type in ends
        if source != target
    ]
    return filed, links


def _last_approval(connection: sa.Connection, kind: EntityKind, proposal: sa.RowMapping) -> Related | None:
    """What the last approval created, by the audit log; None where it has no entry."""
    entry = audit_log.c
    approvals = sa.select(entry.after).where(
        entry.subject == proposal_subject(kind, proposal["id"]), entry.action.in_(APPROVALS)
    )
    after = connection.execute(approvals.order_by(entry.id.desc()).limit(1)).scalar_one_or_none()
    return None if after is None else Related(**{name: tuple(_pairs(after, name)) for name in vars(Related())})


def _created(connection: sa.Connection, run_id: UUID) -> Related:
    """The relations that decisions about the proposals of a run created and no undo removed."""
    subjects = [
        proposal_subject(kind, proposal_id)
        for kind in KINDS
        for proposal_id in connection.execute(
            sa.select(kind.proposals.c.id).where(kind.proposals.c.extraction_run_id == run_id)
        ).scalars()
    ]
    entries = sa.select(audit_log.c.after).where(audit_log.c.subject.in_(subjects)).order_by(audit_log.c.id)
    created: dict[str, dict[Pair, None]] = {name: {} for name in vars(Related())}
    for after in connection.execute(entries).scalars():
        for name, pairs in created.items():
            pairs |= dict.fromkeys(_pairs(after, name))
            for pair in _pairs((after or {}).get("taken_back"), name):
                pairs.pop(pair, None)
    return Related(**{name: tuple(pairs) for name, pairs in created.items()})


def _pairs(entry: dict[str, Any] | None, name: str) -> list[Pair]:
    return [(first, second) for first, second in (entry or {}).get(name, ())]


def _representing(connection: sa.Connection, kind: EntityKind, entity_ids: Collection[int]) -> Sequence[sa.RowMapping]:
    """The proposals that represent one of these rows, as `entity`."""
    if not entity_ids:
        return ()
    ids, origin = sorted(entity_ids), kind.entities.c
    own = sa.select(origin.migrated_from_proposal_id).where(origin.id.in_(ids))
    similar = sa.select(kind.proposals.c.id).where(kind.similar.in_(ids))
    entity = kind.entity_of.label("entity")
    candidates = kind.proposals.c.id.in_(sa.union_all(own, similar).scalar_subquery())
    query = sa.select(kind.proposals, entity).select_from(kind.joined).where(candidates, entity.in_(ids))
    return connection.execute(query).mappings().all()


def _wanted_topic_atoms(connection: sa.Connection, atom_ids: Collection[int]) -> set[Pair]:
    return {
        (topic_id, row["entity"])
        for row in _representing(connection, ATOM, atom_ids)
        for topic_id in existing_topics(connection, row["proposed_topic_ids"] or ())
    }


def _wanted_links(connection: sa.Connection, source_ids: Collection[int]) -> set[Pair]:
    wanted = [
        (row["entity"], UUID(link["proposal"]))
        for row in _representing(connection, ATOM, source_ids)
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
        for row in _representing(connection, TOPIC, topic_ids)
        for message_id in row["message_ids"] or ()
    }


def _atoms_of_run(connection: sa.Connection, run_id: UUID) -> Sequence[sa.RowMapping]:
    """The atom proposals of a run that represent a row."""
    columns, entity = ATOM.proposals.c, ATOM.entity_of.label("entity")
    query = sa.select(columns.id, columns.confidence, columns.proposed_topic_ids, columns.proposed_links, entity)
    of_run = query.select_from(ATOM.joined).where(columns.extraction_run_id == run_id).order_by(columns.id)
    return [row for row in connection.execute(of_run).mappings() if row["entity"] is not None]


def _inserted(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> tuple[Pair, ...]:
    """Inserts the relations that do not exist; returns their keys."""
    if not rows:
        return ()
    new = insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    return tuple((row[0], row[1]) for row in connection.execute(new, rows))
