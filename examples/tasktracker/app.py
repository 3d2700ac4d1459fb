"""`create_app(url, drop_in=…)`: the application, unmodified or with the drop-in.

Run it with uvicorn --factory examples.tasktracker.app:from_environment and TASKTRACKER_URL, TASKTRACKER_DROP_IN=true.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from examples.tasktracker.extraction import extract_knowledge
from examples.tasktracker.models import Atom, Topic, database_url
from knowledge_migration.knowledge.integration import Knowledge, ServiceOptions


class ExtractionRequest(BaseModel):
    """The messages to extract from."""

    message_ids: list[int]
    user_id: int


class AtomChange(BaseModel):
    """A correction by a user."""

    content: str


def from_environment() -> FastAPI:
    """The application of the environment variables."""
    return create_app(database_url(), drop_in=os.environ.get("TASKTRACKER_DROP_IN") == "true")


def create_app(url: str, *, drop_in: bool) -> FastAPI:
    """The application on a database of this address (postgresql+asyncpg://…)."""
    engine = create_async_engine(url, pool_size=5)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    knowledge = Knowledge(ServiceOptions(database_url=url, pool_size=2)) if drop_in else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if knowledge:
            async with knowledge.running():
                yield
        else:
            yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/api/v1/knowledge/extract")
    async def extract(request: ExtractionRequest) -> dict[str, int]:
        async with sessions() as session:
            return {"messages": await extract_knowledge(session, request.message_ids, request.user_id, knowledge)}

    @app.get("/api/v1/topics")
    async def topics() -> list[dict[str, Any]]:
        async with sessions() as session:
            return [{"id": one.id, "name": one.name} for one in await session.scalars(select(Topic).order_by(Topic.id))]

    @app.patch("/api/v1/atoms/{atom_id}")
    async def change_atom(atom_id: int, change: AtomChange) -> dict[str, Any]:
        async with sessions() as session:
            atom = await session.get(Atom, atom_id)
            if atom is None:
                raise HTTPException(404)
            atom.content = change.content
            await session.commit()
            return {"id": atom.id, "content": atom.content}

    return app
