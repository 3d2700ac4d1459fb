"""The legacy routes of topics and atoms."""

import re
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path

from knowledge_migration.knowledge import entities
from knowledge_migration.knowledge.api import models
from knowledge_migration.knowledge.api.access import AnyCaller, Service, caller
from knowledge_migration.knowledge.api.problems import responses
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import InvalidError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.values import HIGHEST_ID, LOWEST_ID

router = APIRouter(dependencies=[Depends(caller)], responses=responses(401, 403, 503))

EntityId = Annotated[models.Id, Path(description="The id of the row.")]


@router.get("/topics", tags=["topics"], responses=responses(422))
async def list_topics(
    service: Service, limit: models.Limit = 50, cursor: models.Cursor = None
) -> models.ItemList[models.Topic]:
    """Topics by ascending id."""
    return models.ItemList[models.Topic](**await _page(service, TOPIC, limit, cursor))


@router.post("/topics", tags=["topics"], status_code=201, responses=responses(409, 422))
async def create_topic(service: Service, topic: models.NewTopic) -> models.Topic:
    """Creates a topic; status 409 if the name exists."""
    return models.Topic(**await _create(service, TOPIC, topic.model_dump()))


@router.get("/topics/{topic_id}", tags=["topics"], responses=responses(404, 422))
async def read_topic(service: Service, topic_id: EntityId) -> models.Topic:
    """One topic."""
    return models.Topic(**await service.in_transaction(entities.one_entity, TOPIC, topic_id))


@router.patch("/topics/{topic_id}", tags=["topics"], responses=responses(404, 409, 422))
async def change_topic(service: Service, topic_id: EntityId, change: models.TopicChange) -> models.Topic:
    """Changes values of a topic; status 409 if the name exists."""
    return models.Topic(**await _change(service, TOPIC, topic_id, change))


@router.get("/topics/{topic_id}/atoms", tags=["topics"], responses=responses(404, 422))
async def list_atoms_of_topic(
    service: Service, topic_id: EntityId, limit: models.Limit = 50, cursor: models.Cursor = None
) -> models.ItemList[models.Atom]:
    """The atoms of a topic by ascending id."""
    return models.ItemList[models.Atom](**await _page(service, ATOM, limit, cursor, topic_id))


@router.get("/atoms", tags=["atoms"], responses=responses(422))
async def list_atoms(
    service: Service, limit: models.Limit = 50, cursor: models.Cursor = None
) -> models.ItemList[models.Atom]:
    """Atoms by ascending id."""
    return models.ItemList[models.Atom](**await _page(service, ATOM, limit, cursor))


@router.post("/atoms", tags=["atoms"], status_code=201, responses=responses(404, 422))
async def create_atom(service: Service, atom: models.NewAtom) -> models.Atom:
    """Creates an atom under the given topics."""
    return models.Atom(**await _create(service, ATOM, atom.model_dump(exclude={"topic_ids"}), tuple(atom.topic_ids)))


@router.get("/atoms/{atom_id}", tags=["atoms"], responses=responses(404, 422))
async def read_atom(service: Service, atom_id: EntityId) -> models.Atom:
    """One atom."""
    return models.Atom(**await service.in_transaction(entities.one_entity, ATOM, atom_id))


@router.patch("/atoms/{atom_id}", tags=["atoms"], responses=responses(404, 422))
async def change_atom(service: Service, atom_id: EntityId, change: models.AtomChange) -> models.Atom:
    """Changes values of an atom."""
    return models.Atom(**await _change(service, ATOM, atom_id, change))


@router.delete("/atoms/{atom_id}", tags=["atoms"], status_code=204, responses=responses(404, 422))
async def delete_atom(service: Service, who: AnyCaller, atom_id: EntityId) -> None:
    """Deletes an atom with its relations."""
    await service.in_transaction(entities.delete_atom, atom_id, actor=who.name)


async def _page(
    service: KnowledgeService, kind: EntityKind, limit: int, cursor: str | None, topic_id: int | None = None
) -> dict[str, Any]:
    if cursor is not None and not (re.fullmatch(r"-?[0-9]{1,19}", cursor) and LOWEST_ID <= int(cursor) <= HIGHEST_ID):
        raise InvalidError("The cursor is not valid. Send next_cursor of the previous page, or no cursor.")
    after_id = None if cursor is None else int(cursor)
    rows = await service.in_transaction(entities.list_entities, kind, limit + 1, after_id, topic_id)
    return {"items": rows[:limit], "next_cursor": str(rows[limit - 1]["id"]) if len(rows) > limit else None}


async def _change(
    service: KnowledgeService, kind: EntityKind, entity_id: int, change: models.TopicChange | models.AtomChange
) -> dict[str, Any]:
    values = change.model_dump(exclude_unset=True)
    return await service.in_transaction(entities.change_entity, kind, entity_id, values)


async def _create(
    service: KnowledgeService, kind: EntityKind, values: dict[str, Any], topic_ids: tuple[int, ...] = ()
) -> dict[str, Any]:
    def work(connection: sa.Connection, flags: Flags) -> dict[str, Any]:
        return entities.create_entity(
            connection,
            kind,
            values,
            flags=flags,
            options=service.options,
            process=service.watcher.process,
            topic_ids=topic_ids,
        )

    flags = service.watcher.flags
    return await service.following_flags(work, flags, needs_proposals=flags.legacy_paths_retired)
