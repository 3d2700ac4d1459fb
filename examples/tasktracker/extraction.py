"""The extraction task: reads messages, asks a model inside the open transaction, and writes what it says in four commits.

With the drop-in the four functions that write are one call; everything else is the same.
"""

import asyncio
import re
from collections.abc import Sequence

from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from examples.tasktracker.models import Atom, AtomLink, Message, Topic, TopicAtom
from knowledge_migration.knowledge.integration import Knowledge

THRESHOLD = 0.7
MODEL_SECONDS = 0.02


class ExtractedTopic(BaseModel):
    """A topic as the model returns it."""

    name: str
    description: str
    confidence: float
    related_message_ids: list[int]


class ExtractedAtom(BaseModel):
    """An atom as the model returns it."""

    type: str
    title: str
    content: str
    confidence: float
    topic_name: str
    related_message_ids: list[int]
    links_to_atom_titles: list[str] = []
    link_types: list[str] = []


class ExtractionResult(BaseModel):
    """The answer of the model."""

    topics: list[ExtractedTopic]
    atoms: list[ExtractedAtom]


async def ask_model(messages: Sequence[Message]) -> ExtractionResult:
    """Stands for the language model: the words after # are topics, each message is a sure atom and an unsure one."""
    await asyncio.sleep(MODEL_SECONDS)
    topics, atoms = dict[str, ExtractedTopic](), list[ExtractedAtom]()
    for message in messages:
        name = next(iter(re.findall(r"#([\w-]+)", message.content)), "general")
        known = topics.setdefault(
            name, ExtractedTopic(name=name, description=f"About {name}", confidence=0.8, related_message_ids=[])
        )
        known.related_message_ids.append(message.id)
        about = {"content": message.content, "topic_name": name, "related_message_ids": [message.id]}
        problem, solution = f"Problem of message {message.id}", f"Solution of message {message.id}"
        links = {"links_to_atom_titles": [problem], "link_types": ["solves"]}
        atoms += [
            ExtractedAtom(type="problem", title=problem, confidence=0.9, **about),
            ExtractedAtom(type="solution", title=solution, confidence=0.75, **about, **links),
            ExtractedAtom(type="question", title=f"Guess of message {message.id}", confidence=0.4, **about),
        ]
    return ExtractionResult(topics=list(topics.values()), atoms=atoms)


async def extract_knowledge(
    session: AsyncSession, message_ids: Sequence[int], user_id: int, knowledge: Knowledge | None
) -> int:
    """Extracts knowledge from messages; returns how many were read. Without `knowledge` it is as before the migration."""
    query = select(Message).where(Message.id.in_(message_ids)).order_by(Message.id)
    messages = (await session.scalars(query)).all()
    result = await ask_model(messages)
    if knowledge:
        await knowledge.write(result, message_ids, user_id, session, extraction_seconds=MODEL_SECONDS)
        await session.commit()
    else:
        topics = await save_topics(session, result.topics)
        atoms = await save_atoms(session, result.atoms, topics)
        await link_atoms(session, result.atoms, atoms)
        await update_messages(session, result.topics, topics)
    return len(message_ids)


async def save_topics(session: AsyncSession, extracted: Sequence[ExtractedTopic]) -> dict[str, int]:
    """The ids of the sure topics by name; an existing one of that name is reused. The confidence is not stored."""
    topics = dict[str, int]()
    for one in extracted:
        if one.confidence < THRESHOLD:
            continue
        topic = await session.scalar(select(Topic).where(Topic.name == one.name))
        if topic is None:
            topic = Topic(name=one.name, description=one.description, icon="FolderIcon", color="#64748B")
            session.add(topic)
            await session.flush()
        topics[one.name] = topic.id
    await session.commit()
    return topics


async def save_atoms(
    session: AsyncSession, extracted: Sequence[ExtractedAtom], topics: dict[str, int]
) -> dict[str, int]:
    """The ids of the sure atoms by title."""
    atoms = dict[str, int]()
    for one in extracted:
        if one.confidence < THRESHOLD or one.topic_name not in topics:
            continue
        atom = Atom(type=one.type, title=one.title, content=one.content, confidence=one.confidence, meta=None)
        session.add(atom)
        await session.flush()
        note = f"Extracted with confidence {one.confidence:.2f}"
        session.add(TopicAtom(topic_id=topics[one.topic_name], atom_id=atom.id, note=note))
        atoms[one.title] = atom.id
    await session.commit()
    return atoms


async def link_atoms(session: AsyncSession, extracted: Sequence[ExtractedAtom], atoms: dict[str, int]) -> None:
    """Links atoms of this extraction by their titles."""
    for one in extracted:
        for title, link_type in zip(one.links_to_atom_titles, one.link_types, strict=False):
            if one.title in atoms and title in atoms and title != one.title:
                session.add(AtomLink(from_atom_id=atoms[one.title], to_atom_id=atoms[title], link_type=link_type))
    await session.commit()


async def update_messages(session: AsyncSession, extracted: Sequence[ExtractedTopic], topics: dict[str, int]) -> None:
    """Gives messages their topic; the first one wins."""
    for one in extracted:
        if one.name in topics:
            wanted = Message.id.in_(one.related_message_ids), Message.topic_id.is_(None)
            await session.execute(update(Message).where(*wanted).values(topic_id=topics[one.name]))
    await session.commit()
