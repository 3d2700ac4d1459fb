"""The schema before the migration."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def _timestamps() -> list[sa.Column[object]]:
    names = ("created_at", "updated_at")
    return [sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()")) for name in names]


def upgrade() -> None:
    """Creates all tables."""
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "atoms",
        *_timestamps(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double()),
        sa.Column("user_approved", sa.Boolean(), nullable=False),
        sa.Column("meta", sa.JSON()),
        sa.Column("embedding", Vector(1536)),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_atoms_title"), "atoms", ["title"], unique=False)
    op.create_table(
        "sources",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("type", sa.Enum("telegram", "slack", "email", "api", name="sourcetype"), nullable=False),
        sa.Column("config", JSONB),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        *_timestamps(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "topics",
        *_timestamps(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("icon", sa.String(length=50)),
        sa.Column("color", sa.String(length=7)),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_topics_name"), "topics", ["name"], unique=True)
    op.create_table(
        "users",
        *_timestamps(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("first_name", sa.String(length=100), nullable=False),
        sa.Column("last_name", sa.String(length=100)),
        sa.Column("email", sa.String()),
        sa.Column("phone", sa.String(length=20)),
        sa.Column("avatar_url", sa.String(length=500)),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_bot", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_users_email"), "users", ["email"], unique=True)
    op.create_index(op.f("ix_users_phone"), "users", ["phone"], unique=True)
    op.create_table(
        "atom_links",
        *_timestamps(),
        sa.Column("from_atom_id", sa.BigInteger(), nullable=False),
        sa.Column("to_atom_id", sa.BigInteger(), nullable=False),
        sa.Column("link_type", sa.String(length=20), nullable=False),
        sa.Column("strength", sa.Double()),
        sa.ForeignKeyConstraint(["from_atom_id"], ["atoms.id"]),
        sa.ForeignKeyConstraint(["to_atom_id"], ["atoms.id"]),
        sa.PrimaryKeyConstraint("from_atom_id", "to_atom_id"),
    )
    op.create_table(
        "telegram_profiles",
        *_timestamps(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("telegram_user_id", sa.BigInteger(), nullable=False),
        sa.Column("first_name", sa.String(length=100), nullable=False),
        sa.Column("last_name", sa.String(length=100)),
        sa.Column("language_code", sa.String(length=10)),
        sa.Column("is_bot", sa.Boolean(), nullable=False),
        sa.Column("is_premium", sa.Boolean(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("user_id"),
    )
    op.create_index(
        op.f("ix_telegram_profiles_telegram_user_id"), "telegram_profiles", ["telegram_user_id"], unique=True
    )
    op.create_table(
        "topic_atoms",
        *_timestamps(),
        sa.Column("topic_id", sa.BigInteger(), nullable=False),
        sa.Column("atom_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer()),
        sa.Column("note", sa.Text()),
        sa.ForeignKeyConstraint(["atom_id"], ["atoms.id"]),
        sa.ForeignKeyConstraint(["topic_id"], ["topics.id"]),
        sa.PrimaryKeyConstraint("topic_id", "atom_id"),
    )
    op.create_table(
        "messages",
        *_timestamps(),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("external_message_id", sa.String(length=100), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("author_id", sa.Integer(), nullable=False),
        sa.Column("telegram_profile_id", sa.Integer()),
        sa.Column("avatar_url", sa.String(length=500)),
        sa.Column("classification", sa.String(length=50)),
        sa.Column("confidence", sa.Double()),
        sa.Column("analyzed", sa.Boolean(), nullable=False),
        sa.Column("analysis_status", sa.String(length=50)),
        sa.Column("included_in_runs", JSONB),
        sa.Column("topic_id", sa.Integer()),
        sa.Column("embedding", Vector(1536)),
        sa.Column("importance_score", sa.Double()),
        sa.Column("noise_classification", sa.String(length=50)),
        sa.Column("noise_factors", JSONB),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"]),
        sa.ForeignKeyConstraint(["telegram_profile_id"], ["telegram_profiles.id"]),
        sa.ForeignKeyConstraint(["topic_id"], ["topics.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_messages_external_message_id"), "messages", ["external_message_id"], unique=False)
    op.create_index(op.f("ix_messages_topic_id"), "messages", ["topic_id"], unique=False)


def downgrade() -> None:
    """Drops all tables."""
    for table in ("messages", "topic_atoms", "telegram_profiles", "atom_links", "users", "topics", "sources", "atoms"):
        op.drop_table(table)
    op.execute("DROP TYPE sourcetype")
