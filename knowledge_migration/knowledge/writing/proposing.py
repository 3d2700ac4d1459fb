"""Writes a proposal for everything that was extracted, low confidence included (strategy §4.1, §6.2).

Beside a direct result each proposal says what became of it: approved and the origin of the row that was created, approved
and matched to the topic of that name, or pending because direct mode skipped it. Without one, all are pending.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import AtomCandidate, Similar, TopicCandidate
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.kinds import ATOM, TOPIC, EntityType, Kind
from knowledge_migration.knowledge.writing.direct import (
    NOTHING_WRITTEN,
    DirectResult,
    atom_values,
    link_places,
    topic_ids_by_name,
    topic_values,
)


@dataclass(frozen=True)
class Proposed:
    """The proposals of one extraction, by place; how many there are of each kind and status; seconds each kind took."""

    run_id: UUID
    topic_proposal_ids: tuple[UUID, ...]
    atom_proposal_ids: tuple[UUID, ...]
    statuses: Counter[tuple[EntityType, str]]
    seconds: dict[EntityType, float]

    @property
    def counts(self) -> dict[str, int]:
        """For the run's record."""
        return {"topic_proposals": len(self.topic_proposal_ids), "atom_proposals": len(self.atom_proposal_ids)}


def write_proposals(
    connection: sa.Connection,
    run_id: UUID,
    extraction: Extraction,
    finder: DuplicateFinder,
    direct: DirectResult = NOTHING_WRITTEN,
) -> Proposed:
    """Inserts the proposals of one extraction and links the rows of `direct` to theirs, in the caller's transaction."""
    writer = _Writer(connection, run_id, extraction, finder, direct)
    started = time.perf_counter()
    topics = writer.topics()
    between = time.perf_counter()
    atoms = writer.atoms()
    seconds: dict[EntityType, float] = {"topic": between - started, "atom": time.perf_counter() - between}
    statuses = Counter[tuple[EntityType, str]](
        [("topic", row["status"]) for row in topics] + [("atom", row["status"]) for row in atoms]
    )
    return Proposed(run_id, tuple(writer.topic_uuids), tuple(writer.atom_uuids), statuses, seconds)


class _Writer:
    """What the proposals of one extraction refer to one another by."""

    def __init__(
        self,
        connection: sa.Connection,
        run_id: UUID,
        extraction: Extraction,
        finder: DuplicateFinder,
        direct: DirectResult,
    ) -> None:
        self.connection = connection
        self.run_id = run_id
        self.extraction = extraction
        self.finder = finder
        self.direct = direct
        self.topic_uuids = [uuid4() for _ in extraction.topics]
        self.atom_uuids = [uuid4() for _ in extraction.atoms]

    def topics(self) -> list[dict[str, Any]]:
        extracted = self.extraction.topics
        skipped = [place for place, topic in enumerate(extracted) if topic.name not in self.direct.topic_ids]
        similar = self.finder.similar_topics(
            self.connection, [TopicCandidate(extracted[place].name, extracted[place].description) for place in skipped]
        )
        found = dict(zip(skipped, similar, strict=True))
        rows = []
        for place, topic in enumerate(extracted):
            entity = self.direct.topic_ids.get(topic.name)
            created = place in self.direct.created_topics
            match = Similar(entity, 1.0, "exact") if entity is not None and not created else found.get(place)
            rows.append(
                {
                    **self._common(TOPIC, self.topic_uuids[place], topic.confidence, topic.reasoning, match),
                    **topic_values(topic),
                    **_outcome(entity is not None),
                    "entity_id": entity if created else None,
                    "message_ids": list(topic.related_message_ids),
                }
            )
        self._insert(TOPIC, rows)
        return rows

    def atoms(self) -> list[dict[str, Any]]:
        extracted = self.extraction.atoms
        skipped = [place for place in range(len(extracted)) if place not in self.direct.atom_ids]
        similar = self.finder.similar_atoms(
            self.connection,
            [AtomCandidate(extracted[place].title, extracted[place].content, None) for place in skipped],
        )
        found = dict(zip(skipped, similar, strict=True))
        topic_of = self._topic_references([atom.topic_name for atom in extracted])
        links = self._links()
        rows = []
        for place, atom in enumerate(extracted):
            entity = self.direct.atom_ids.get(place)
            rows.append(
                {
                    **self._common(ATOM, self.atom_uuids[place], atom.confidence, atom.reasoning, found.get(place)),
                    **atom_values(atom),
                    **_outcome(entity is not None),
                    "entity_id": entity,
                    "proposed_topic_ids": topic_of.get(atom.topic_name, []),
                    "proposed_links": links.get(place, []),
                }
            )
        self._insert(ATOM, rows)
        return rows

    def _topic_references(self, names: Sequence[str]) -> dict[str, list[int | str]]:
        """What an atom's topic is: a number where the row exists, the id of its proposal where it does not yet."""
        references: dict[str, list[int | str]] = {
            topic.name: [str(uuid)]
            for topic, uuid in reversed(list(zip(self.extraction.topics, self.topic_uuids, strict=True)))
        }
        elsewhere = set(names) - references.keys()
        known = {**topic_ids_by_name(self.connection, elsewhere), **self.direct.topic_ids}
        return {**references, **{name: [topic_id] for name, topic_id in known.items()}}

    def _links(self) -> dict[int, list[dict[str, str]]]:
        links: dict[int, list[dict[str, str]]] = {}
        for (source, target), link_type in link_places(self.extraction.atoms).items():
            links.setdefault(source, []).append({"proposal": str(self.atom_uuids[target]), "type": link_type})
        return links

    def _common(
        self, kind: Kind, uuid: UUID, confidence: float, reasoning: str, match: Similar | None
    ) -> dict[str, Any]:
        return {
            "id": uuid,
            "extraction_run_id": self.run_id,
            "confidence": confidence,
            "reasoning": reasoning or None,
            kind.similar.name: match.entity_id if match else None,
            "similarity_score": match.score if match else None,
            "similarity_type": match.type if match else None,
        }

    def _insert(self, kind: Kind, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        self.connection.execute(sa.insert(kind.proposals).values(reviewed_at=_REVIEWED_AT), rows)
        created = [(row["entity_id"], row["id"]) for row in rows if row["entity_id"] is not None]
        if created:
            link(self.connection, kind, created)


_REVIEWED_AT = sa.case((sa.bindparam("written", type_=sa.Boolean), sa.func.now()))


def _outcome(written: bool) -> dict[str, Any]:
    status, action = ("auto_approved", "dual_write") if written else ("pending", None)
    return {"written": written, "status": status, "review_action": action}


def link(connection: sa.Connection, kind: Kind, pairs: Sequence[tuple[int, UUID]]) -> None:
    """Names the proposal that each of these rows of the caller's own transaction came from."""
    made = sa.values(sa.column("id", sa.BigInteger), sa.column("proposal_id", sa.UUID), name="made").data(list(pairs))
    connection.execute(
        sa.update(kind.entities)
        .where(kind.entities.c.id == made.c.id)
        .values(migrated_from_proposal_id=made.c.proposal_id, migration_timestamp=sa.func.now())
    )
