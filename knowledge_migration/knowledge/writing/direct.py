"""Writes topics and atoms at once, as the application did before the migration (strategy §4.1).

Results below the threshold are skipped; an existing topic of that name is reused unchanged; atoms are not de-duplicated; links
go by title within the extraction; a message keeps its first topic.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge.extraction.appearance import color_for, icon_for
from knowledge_migration.knowledge.extraction.model import ExtractedAtom, ExtractedTopic, Extraction
from knowledge_migration.knowledge.proposals.relations import give_topics, relation_note
from knowledge_migration.knowledge.tables import atom_links, atoms, topic_atoms, topics


@dataclass(frozen=True)
class DirectResult:
    """The id of each topic by name; the ids of the new topics and of the atoms, each by its place in the extraction."""

    topic_ids: Mapping[str, int]
    created_topics: Mapping[int, int]
    atom_ids: Mapping[int, int]

    @property
    def counts(self) -> dict[str, int]:
        """For the run's record."""
        created = len(self.created_topics)
        return {"topics": len(self.topic_ids), "topics_created": created, "atoms": len(self.atom_ids)}


NOTHING_WRITTEN = DirectResult({}, {}, {})


def write_direct(connection: sa.Connection, extraction: Extraction, threshold: float) -> DirectResult:
    """Writes what reaches the threshold, in the caller's transaction."""
    topic_ids, created = save_topics(connection, extraction.topics, threshold)
    atom_ids = save_atoms(connection, extraction.atoms, topic_ids, threshold)
    link_atoms(connection, extraction.atoms, atom_ids)
    topic_of = {
        message_id: topic_ids[topic.name]
        for topic in reversed(extraction.topics)  # of several topics the first wins
        for message_id in topic.related_message_ids
        if topic.name in topic_ids
    }
    give_topics(connection, topic_of)
    return DirectResult(topic_ids, created, atom_ids)


def topic_values(topic: ExtractedTopic) -> dict[str, Any]:
    """The columns of a new topic, in the table and in a proposal: the text determines the icon, the icon the colour."""
    icon = icon_for(topic.name, topic.description)
    return {"name": topic.name, "description": topic.description, "icon": icon, "color": color_for(icon)}


def atom_values(atom: ExtractedAtom) -> dict[str, Any]:
    """The columns of a new atom that its proposal has too."""
    meta = {"source": "llm_extraction", "message_ids": list(atom.related_message_ids)}
    return {name: getattr(atom, name) for name in ("type", "title", "content", "confidence")} | {"meta": meta}


def save_topics(
    connection: sa.Connection, extracted: Sequence[ExtractedTopic], threshold: float
) -> tuple[dict[str, int], dict[int, int]]:
    """The id of each topic that reaches the threshold, by name; and of those that did not exist, by place.

    Names go in order, so that two extractions of the same names wait for each other instead of deadlocking.
    """
    places = {
        topic.name: place for place, topic in reversed(list(enumerate(extracted))) if topic.confidence >= threshold
    }
    known = topic_ids_by_name(connection, places.keys())
    new = [topic_values(extracted[places[name]]) for name in sorted(places.keys() - known.keys())]
    if not new:
        return known, {}
    insertion = insert(topics).on_conflict_do_nothing(index_elements=["name"]).returning(topics.c.name, topics.c.id)
    created = {row.name: row.id for row in connection.execute(insertion, new)}
    concurrent = {row["name"] for row in new} - created.keys()  # another transaction has just committed the name
    topic_ids = {**known, **created, **topic_ids_by_name(connection, concurrent)}
    return topic_ids, {places[name]: topic_id for name, topic_id in created.items()}


def topic_ids_by_name(connection: sa.Connection, names: AbstractSet[str]) -> dict[str, int]:
    """The ids of the topics of exactly these names."""
    wanted = sa.any_(sa.literal(sorted(names), sa.ARRAY(sa.Text)))
    query = sa.select(topics.c.name, topics.c.id).where(topics.c.name == wanted)
    return {row.name: row.id for row in connection.execute(query)} if names else {}


def save_atoms(
    connection: sa.Connection, extracted: Sequence[ExtractedAtom], topic_ids: Mapping[str, int], threshold: float
) -> dict[int, int]:
    """The id of each atom that reaches the threshold under a known topic, by its place in the extraction."""
    places = [
        place for place, atom in enumerate(extracted) if atom.confidence >= threshold and atom.topic_name in topic_ids
    ]
    if not places:
        return {}
    rows = [{**atom_values(extracted[place]), "user_approved": False} for place in places]
    inserted = connection.execute(sa.insert(atoms).returning(atoms.c.id, sort_by_parameter_order=True), rows)
    atom_ids = dict(zip(places, inserted.scalars(), strict=True))
    filed = [
        {"topic_id": topic_ids[atom.topic_name], "atom_id": atom_id, "note": relation_note(atom.confidence)}
        for place, atom_id in atom_ids.items()
        for atom in (extracted[place],)
    ]
    connection.execute(sa.insert(topic_atoms), filed)
    return atom_ids


def link_places(extracted: Sequence[ExtractedAtom]) -> dict[tuple[int, int], str]:
    """The links between atoms of one extraction, by place: the first of a title is meant, no atom links to itself."""
    place_of = {atom.title: place for place, atom in reversed(list(enumerate(extracted)))}
    links: dict[tuple[int, int], str] = {}
    for place, atom in enumerate(extracted):
        for title, link_type in zip(atom.links_to_atom_titles, atom.link_types, strict=False):
            other = place_of.get(title)
            if other is not None and other != place:
                links.setdefault((place, other), link_type)
    return links


def link_atoms(connection: sa.Connection, extracted: Sequence[ExtractedAtom], atom_ids: Mapping[int, int]) -> None:
    """Writes the links between atoms that were both written."""
    rows = [
        {"from_atom_id": atom_ids[source], "to_atom_id": atom_ids[target], "link_type": link_type}
        for (source, target), link_type in link_places(extracted).items()
        if source in atom_ids and target in atom_ids
    ]
    if rows:
        connection.execute(sa.insert(atom_links), rows)
