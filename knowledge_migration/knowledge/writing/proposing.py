"""Writes a proposal for each extracted topic and atom, low confidence included (strategy §4.1, §6.2).

Beside a direct result a proposal is approved (its row was created or matched) or pending (direct mode skipped it); without
one, all are pending. One statement writes proposals, links and the end of the run: separate statements doubled the time.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC, EntityKind, EntityName
from knowledge_migration.knowledge.errors import ConflictError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.writing.direct import (
    NOTHING_WRITTEN,
    DirectResult,
    atom_values,
    link_places,
    topic_ids_by_name,
    topic_values,
)
from knowledge_migration.knowledge.writing.runs import RunOrigin, completed_settings, completion

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Proposed:
    """The proposals of one extraction, by place; their number by kind and status; the seconds of writing."""

    run_id: UUID
    topic_proposal_ids: tuple[UUID, ...]
    atom_proposal_ids: tuple[UUID, ...]
    statuses: Counter[tuple[EntityName, str]]
    seconds: float

    @property
    def pending(self) -> int:
        """How many were pending when they were written."""
        return sum(count for (_, status), count in self.statuses.items() if status == "pending")


def write_proposals(
    connection: sa.Connection,
    run_id: UUID,
    origin: RunOrigin,
    extraction: Extraction,
    direct: DirectResult = NOTHING_WRITTEN,
) -> Proposed:
    """Inserts the proposals of one extraction, links the rows of `direct` to theirs and completes the run."""
    started = time.perf_counter()
    topic_uuids = [uuid4() for _ in extraction.topics]
    atom_uuids = [uuid4() for _ in extraction.atoms]
    topics = _topic_rows(extraction, direct, topic_uuids)
    atoms = _atom_rows(extraction, direct, atom_uuids, _topic_references(connection, extraction, direct, topic_uuids))
    statuses = Counter[tuple[EntityName, str]](
        [("topic", row["status"]) for row in topics] + [("atom", row["status"]) for row in atoms]
    )
    counts = {**direct.counts, "topic_proposals": len(topics), "atom_proposals": len(atoms)}
    due = any(status == "pending" for _, status in statuses)
    settings = completed_settings(origin, counts, similarity_due=due)
    created = {"topic_created": list(direct.created_topics.values()), "atom_created": list(direct.atom_ids.values())}
    rows = {"topic_rows": topics, "atom_rows": atoms}
    connection.execute(_WRITE, {"run": run_id, "settings": settings, **rows, **created})
    return Proposed(run_id, tuple(topic_uuids), tuple(atom_uuids), statuses, time.perf_counter() - started)


def _topic_rows(extraction: Extraction, direct: DirectResult, uuids: Sequence[UUID]) -> Rows:
    rows = []
    for place, topic in enumerate(extraction.topics):
        entity = direct.topic_ids.get(topic.name)
        created = place in direct.created_topics
        matched = entity is not None and not created
        rows.append(
            {
                "id": str(uuids[place]),
                **topic_values(topic),
                "confidence": topic.confidence,
                "reasoning": topic.reasoning or None,
                "message_ids": list(topic.related_message_ids),
                **_outcome(entity is not None),
                "entity_id": entity if created else None,
                "similar_topic_id": entity if matched else None,
                "similarity_score": 1.0 if matched else None,
                "similarity_type": "exact" if matched else None,
            }
        )
    return rows


def _atom_rows(
    extraction: Extraction, direct: DirectResult, uuids: Sequence[UUID], topics: dict[str, list[int | str]]
) -> Rows:
    links: dict[int, list[dict[str, str]]] = {}
    for (source, target), link_type in link_places(extraction.atoms).items():
        links.setdefault(source, []).append({"proposal": str(uuids[target]), "type": link_type})
    return [
        {
            "id": str(uuids[place]),
            **atom_values(atom),
            "reasoning": atom.reasoning or None,
            "proposed_topic_ids": topics.get(atom.topic_name, []),
            "proposed_links": links.get(place, []),
            **_outcome(place in direct.atom_ids),
            "entity_id": direct.atom_ids.get(place),
        }
        for place, atom in enumerate(extraction.atoms)
    ]


def _topic_references(
    connection: sa.Connection, extraction: Extraction, direct: DirectResult, uuids: Sequence[UUID]
) -> dict[str, list[int | str]]:
    """The reference of an atom to its topic: a number where the row exists, else the id of its proposal."""
    references: dict[str, list[int | str]] = {
        topic.name: [str(uuid)] for topic, uuid in reversed(list(zip(extraction.topics, uuids, strict=True)))
    }
    elsewhere = {atom.topic_name for atom in extraction.atoms} - references.keys()
    known = {**topic_ids_by_name(connection, elsewhere), **direct.topic_ids}
    return {**references, **{name: [topic_id] for name, topic_id in known.items()}}


def _outcome(written: bool) -> dict[str, Any]:
    status, action = ("auto_approved", "dual_write") if written else ("pending", None)
    return {"status": status, "review_action": action}


def link(connection: sa.Connection, kind: EntityKind, row_id: int, proposal_id: UUID) -> None:
    """Sets the link of a row to its proposal; raises `ConflictError` where a trigger suppresses the update."""
    row = sa.update(kind.entities).where(kind.entities.c.id == row_id)
    linked = row.values(migrated_from_proposal_id=proposal_id, migration_timestamp=sa.func.now())
    if connection.execute(linked).rowcount != 1:
        raise ConflictError(f"A trigger or rule suppressed the update that links {kind.name} {row_id} to its proposal.")


def _insertion(kind: EntityKind, *columns: str) -> tuple[sa.CTE, sa.CTE]:
    """Inserts the proposals of one kind from JSON, and links the created rows to them."""
    names = ("id", *kind.values, "reasoning", "status", "review_action", "entity_id", *columns)
    names = tuple(dict.fromkeys((*names, "confidence")))
    given = (
        sa.func.jsonb_to_recordset(sa.bindparam(f"{kind.name}_rows", type_=JSONB))
        .table_valued(*(sa.column(name, kind.proposals.c[name].type) for name in names), name=f"{kind.name}_given")
        .render_derived(with_types=True)
    )
    reviewed = sa.case((given.c.status != "pending", sa.func.now()))
    inserted = sa.insert(kind.proposals).from_select(
        [*names, "extraction_run_id", "reviewed_at"],
        sa.select(*(given.c[name] for name in names), sa.bindparam("run", type_=sa.UUID), reviewed),
    )
    proposal = inserted.returning(kind.proposals.c.id, kind.proposals.c.entity_id).cte(f"{kind.name}_inserted")
    created = sa.bindparam(f"{kind.name}_created", type_=sa.ARRAY(sa.BigInteger))  # else the whole table is joined
    linked = (
        sa.update(kind.entities)
        .where(kind.entities.c.id == proposal.c.entity_id, kind.entities.c.id == sa.any_(created))
        .values(migrated_from_proposal_id=proposal.c.id, migration_timestamp=sa.func.now())
    )
    return proposal, linked.cte(f"{kind.name}_linked")


_WRITE = sa.select(sa.literal(1)).add_cte(
    *_insertion(TOPIC, "message_ids", "similar_topic_id", "similarity_score", "similarity_type"),
    *_insertion(ATOM, "proposed_topic_ids", "proposed_links"),
    completion(sa.bindparam("run", type_=sa.UUID), sa.bindparam("settings", type_=JSONB)).cte("run_completed"),
)
