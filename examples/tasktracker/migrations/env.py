"""The application's Alembic environment, over asyncpg."""

import asyncio
import os

import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

from examples.tasktracker.models import Base, database_url
from knowledge_migration.knowledge.alembic_hooks import adopt, include_object

if os.environ.get("TASKTRACKER_ADOPTED") == "true":
    adopt(Base.metadata)


def _migrate(connection: sa.Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, include_object=include_object)
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    engine = create_async_engine(database_url())
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_run())
