"""`python -m examples.tasktracker.worker`: the background process, which extracts from one waiting message after another.

It has the variables of the application. It touches the file TASKTRACKER_ALIVE after each round, for health checks.
"""

import asyncio
import os
import signal
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from examples.tasktracker.extraction import extract_knowledge
from examples.tasktracker.models import Message, database_url
from knowledge_migration.knowledge.integration import Knowledge, ServiceOptions

PAUSE_SECONDS = 1.0


async def run(url: str, *, drop_in: bool, alive: Path, pause_seconds: float = PAUSE_SECONDS) -> None:
    """Works until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not drop_in:
        await extract_until(stop, url, None, alive, pause_seconds)
        return
    knowledge = Knowledge(ServiceOptions(database_url=url, pool_size=2))
    async with knowledge.running():
        await extract_until(stop, url, knowledge, alive, pause_seconds)


async def extract_until(
    stop: asyncio.Event, url: str, knowledge: Knowledge | None, alive: Path, pause_seconds: float
) -> None:
    """A message in each round, until it is stopped."""
    engine = create_async_engine(url, pool_size=2)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    while not stop.is_set():
        async with sessions() as session:
            await extract_next(session, knowledge)
        alive.touch()
        try:
            await asyncio.wait_for(stop.wait(), pause_seconds)
        except TimeoutError:
            continue
    await engine.dispose()


async def extract_next(session: AsyncSession, knowledge: Knowledge | None) -> None:
    """Extracts from the oldest message that was not analyzed, if there is one."""
    message = await session.scalar(select(Message).where(Message.analyzed.is_(False)).order_by(Message.id).limit(1))
    if message is not None:
        await extract_knowledge(session, [message.id], message.author_id, knowledge)
        message.analyzed = True
        await session.commit()


if __name__ == "__main__":
    asyncio.run(
        run(
            database_url(),
            drop_in=os.environ.get("TASKTRACKER_DROP_IN") == "true",
            alive=Path(os.environ.get("TASKTRACKER_ALIVE", "/tmp/worker.alive")),
        )
    )
