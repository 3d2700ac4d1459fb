"""`python -m examples.tasktracker.sample`: people and messages for an empty database; another one stays as it is."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from examples.tasktracker.models import Message, Source, User, database_url

PEOPLE, MESSAGES, SUBJECTS = 20, 2_000, 30
TEXTS = (
    "Decision: `part-{0}` keeps its audit log in PostgreSQL. #part-{0}",
    "Problem: `part-{0}` fails when the disk is full. The fix is to check the space. #part-{0}",
    "How do we test `part-{0}`? #part-{0}",
)


async def fill(url: str) -> None:
    """Adds them unless there is a user."""
    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        if await session.scalar(select(User.id).limit(1)) is None:
            people = [User(first_name=f"user {number}") for number in range(PEOPLE)]
            chat = Source(name="chat", type="telegram")
            session.add_all([*people, chat])
            await session.flush()
            session.add_all(_message(number, people[number % PEOPLE].id, chat.id) for number in range(MESSAGES))
            await session.commit()
    await engine.dispose()


def _message(number: int, author: int, source: int) -> Message:
    return Message(
        external_message_id=f"m{number}",
        content=TEXTS[number % len(TEXTS)].format(number % SUBJECTS),
        sent_at=datetime(2026, 1, 1) + timedelta(minutes=number),
        source_id=source,
        author_id=author,
    )


if __name__ == "__main__":
    asyncio.run(fill(database_url()))
