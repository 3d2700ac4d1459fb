"""The tables of the application, as SQLAlchemy's mapped classes, and the address of their database."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import JSON, BigInteger, DateTime, Double, Enum, ForeignKey, Integer, String, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def database_url() -> str:
    """TASKTRACKER_URL, or what the file TASKTRACKER_URL_FILE holds."""
    return os.environ.get("TASKTRACKER_URL") or Path(os.environ["TASKTRACKER_URL_FILE"]).read_text().strip()


class Base(DeclarativeBase):
    """The metadata of the application."""


class Timestamps:
    """The first two columns of every table."""

    created_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), sort_order=-1
    )
    updated_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), sort_order=-1
    )


class User(Timestamps, Base):
    """A person or a bot."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    first_name: Mapped[str] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    email: Mapped[str | None] = mapped_column(String, unique=True, index=True)
    phone: Mapped[str | None] = mapped_column(String(20), unique=True, index=True)
    avatar_url: Mapped[str | None] = mapped_column(String(500))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_bot: Mapped[bool] = mapped_column(default=False)


class Source(Base):
    """Where messages come from."""

    __tablename__ = "sources"

    name: Mapped[str] = mapped_column(String(100))
    type: Mapped[str] = mapped_column(Enum("telegram", "slack", "email", "api", name="sourcetype"))
    config: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), server_default=func.now())
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class TelegramProfile(Timestamps, Base):
    """A user's account at Telegram."""

    __tablename__ = "telegram_profiles"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    telegram_user_id: Mapped[int] = mapped_column(BigInteger, unique=True, index=True)
    first_name: Mapped[str] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    language_code: Mapped[str | None] = mapped_column(String(10))
    is_bot: Mapped[bool] = mapped_column(default=False)
    is_premium: Mapped[bool] = mapped_column(default=False)
    user_id: Mapped[int] = mapped_column(Integer, ForeignKey("users.id"), unique=True)
    source_id: Mapped[int] = mapped_column(Integer, ForeignKey("sources.id"))


class Topic(Timestamps, Base):
    """A subject of knowledge."""

    __tablename__ = "topics"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True, index=True)
    description: Mapped[str] = mapped_column(Text)
    icon: Mapped[str | None] = mapped_column(String(50))
    color: Mapped[str | None] = mapped_column(String(7))


class Message(Timestamps, Base):
    """What somebody wrote."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    external_message_id: Mapped[str] = mapped_column(String(100), index=True)
    content: Mapped[str] = mapped_column(Text)
    sent_at: Mapped[datetime]
    source_id: Mapped[int] = mapped_column(Integer, ForeignKey("sources.id"))
    author_id: Mapped[int] = mapped_column(Integer, ForeignKey("users.id"))
    telegram_profile_id: Mapped[int | None] = mapped_column(Integer, ForeignKey("telegram_profiles.id"))
    avatar_url: Mapped[str | None] = mapped_column(String(500))
    classification: Mapped[str | None] = mapped_column(String(50))
    confidence: Mapped[float | None] = mapped_column(Double)
    analyzed: Mapped[bool] = mapped_column(default=False)
    analysis_status: Mapped[str | None] = mapped_column(String(50))
    included_in_runs: Mapped[Any | None] = mapped_column(JSONB)
    topic_id: Mapped[int | None] = mapped_column(Integer, ForeignKey("topics.id"), index=True)
    embedding: Mapped[Any | None] = mapped_column(Vector(1536))
    importance_score: Mapped[float | None] = mapped_column(Double)
    noise_classification: Mapped[str | None] = mapped_column(String(50))
    noise_factors: Mapped[Any | None] = mapped_column(JSONB)


class Atom(Timestamps, Base):
    """A piece of knowledge; `meta` without a value is JSON null, as the application has always written it."""

    __tablename__ = "atoms"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(String(200), index=True)
    content: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float | None] = mapped_column(Double)
    user_approved: Mapped[bool] = mapped_column(default=False)
    meta: Mapped[Any | None] = mapped_column(JSON)
    embedding: Mapped[Any | None] = mapped_column(Vector(1536))


class TopicAtom(Timestamps, Base):
    """An atom belongs to a topic."""

    __tablename__ = "topic_atoms"

    topic_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("topics.id"), primary_key=True)
    atom_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("atoms.id"), primary_key=True)
    position: Mapped[int | None]
    note: Mapped[str | None] = mapped_column(Text)


class AtomLink(Timestamps, Base):
    """An atom refers to another one."""

    __tablename__ = "atom_links"

    from_atom_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("atoms.id"), primary_key=True)
    to_atom_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("atoms.id"), primary_key=True)
    link_type: Mapped[str] = mapped_column(String(20))
    strength: Mapped[float | None] = mapped_column(Double)
