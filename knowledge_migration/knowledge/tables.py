"""The declaration of the application's tables: the legacy ones, and those of the proposal workflow (strategy §3.1).

The catalog of a database is compared with it; `sql/schema/` creates the new tables. Corrections of the strategy: see
ERRATA.md. `entity_id` is the row that a proposal became; it stays when a user deletes that row later.
"""

from dataclasses import dataclass
from typing import LiteralString

import sqlalchemy as sa
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects.postgresql import JSON, JSONB, UUID

EMBEDDING_DIMENSIONS = 1536

ATOM_TYPES = ("problem", "solution", "decision", "question", "insight", "pattern", "requirement")
LINK_TYPES = ("continues", "solves", "contradicts", "supports", "refines", "relates_to", "depends_on")

PROPOSAL_STATUSES = ("pending", "approved", "auto_approved", "rejected", "merged", "withdrawn", "parked")
RUN_STATUSES = ("pending", "running", "completed", "failed")
SIMILARITY_TYPES = ("exact", "spelling", "meaning")
REVIEW_ACTIONS = (
    *("approve", "auto_approve", "auto_approve_migration", "dual_write"),
    *("reject", "merge", "undo", "park", "replay"),
)

legacy = sa.MetaData()
proposals = sa.MetaData()
evidence = sa.MetaData(schema="migration")

_timestamp = sa.DateTime(timezone=True)
_bigint = sa.BigInteger
_float = sa.Double
_jsonb = JSONB(none_as_null=True)


def _timestamps() -> list[sa.Column[object]]:
    return [
        sa.Column("created_at", _timestamp, server_default=sa.text("now()")),
        sa.Column("updated_at", _timestamp, server_default=sa.text("now()")),
    ]


users = sa.Table(
    "users",
    legacy,
    *_timestamps(),
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("first_name", sa.String(100), nullable=False),
    sa.Column("last_name", sa.String(100)),
    sa.Column("email", sa.String),
    sa.Column("phone", sa.String(20)),
    sa.Column("avatar_url", sa.String(500)),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("is_bot", sa.Boolean, nullable=False),
    sa.Index("ix_users_email", "email", unique=True),
    sa.Index("ix_users_phone", "phone", unique=True),
)

sources = sa.Table(
    "sources",
    legacy,
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("type", sa.Enum("telegram", "slack", "email", "api", name="sourcetype"), nullable=False),
    sa.Column("config", JSONB),
    sa.Column("is_active", sa.Boolean, nullable=False),
    *_timestamps(),
    sa.Column("id", _bigint, primary_key=True),
)

telegram_profiles = sa.Table(
    "telegram_profiles",
    legacy,
    *_timestamps(),
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("telegram_user_id", _bigint, nullable=False),
    sa.Column("first_name", sa.String(100), nullable=False),
    sa.Column("last_name", sa.String(100)),
    sa.Column("language_code", sa.String(10)),
    sa.Column("is_bot", sa.Boolean, nullable=False),
    sa.Column("is_premium", sa.Boolean, nullable=False),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False, unique=True),
    sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id"), nullable=False),
    sa.Index("ix_telegram_profiles_telegram_user_id", "telegram_user_id", unique=True),
)

topics = sa.Table(
    "topics",
    legacy,
    *_timestamps(),
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("icon", sa.String(50)),
    sa.Column("color", sa.String(7)),
    sa.Index("ix_topics_name", "name", unique=True),
)

messages = sa.Table(
    "messages",
    legacy,
    *_timestamps(),
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("external_message_id", sa.String(100), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("sent_at", sa.DateTime, nullable=False),
    sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id"), nullable=False),
    sa.Column("author_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("telegram_profile_id", sa.Integer, sa.ForeignKey("telegram_profiles.id")),
    sa.Column("avatar_url", sa.String(500)),
    sa.Column("classification", sa.String(50)),
    sa.Column("confidence", _float),
    sa.Column("analyzed", sa.Boolean, nullable=False),
    sa.Column("analysis_status", sa.String(50)),
    sa.Column("included_in_runs", JSONB),
    sa.Column("topic_id", sa.Integer, sa.ForeignKey("topics.id")),
    sa.Column("embedding", Vector(EMBEDDING_DIMENSIONS)),
    sa.Column("importance_score", _float),
    sa.Column("noise_classification", sa.String(50)),
    sa.Column("noise_factors", JSONB),
    sa.Index("ix_messages_external_message_id", "external_message_id"),
    sa.Index("ix_messages_topic_id", "topic_id"),
)

atoms = sa.Table(
    "atoms",
    legacy,
    *_timestamps(),
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("confidence", _float),
    sa.Column("user_approved", sa.Boolean, nullable=False),
    sa.Column("meta", JSON),
    sa.Column("embedding", Vector(EMBEDDING_DIMENSIONS)),
    sa.Index("ix_atoms_title", "title"),
)

topic_atoms = sa.Table(
    "topic_atoms",
    legacy,
    *_timestamps(),
    sa.Column("topic_id", _bigint, sa.ForeignKey("topics.id"), primary_key=True),
    sa.Column("atom_id", _bigint, sa.ForeignKey("atoms.id"), primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("note", sa.Text),
)

atom_links = sa.Table(
    "atom_links",
    legacy,
    *_timestamps(),
    sa.Column("from_atom_id", _bigint, sa.ForeignKey("atoms.id"), primary_key=True),
    sa.Column("to_atom_id", _bigint, sa.ForeignKey("atoms.id"), primary_key=True),
    sa.Column("link_type", sa.String(20), nullable=False),
    sa.Column("strength", _float),
)


def _one_of(column: str, allowed: tuple[str, ...], name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sa.column(column).in_(allowed), name=name)


knowledge_extraction_runs = sa.Table(
    "knowledge_extraction_runs",
    proposals,
    sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("status", sa.String(50), nullable=False, server_default="pending"),
    sa.Column("message_ids", JSONB, nullable=False),
    sa.Column("message_count", sa.Integer, nullable=False),
    sa.Column("time_span_seconds", sa.Integer),
    sa.Column("settings", JSONB),
    sa.Column("started_at", _timestamp, server_default=sa.text("now()")),
    sa.Column("completed_at", _timestamp),
    sa.Column("error_message", sa.Text),
    sa.Column("created_by_user_id", _bigint),
    sa.Column("created_at", _timestamp, nullable=False, server_default=sa.text("now()")),
    _one_of("status", RUN_STATUSES, "valid_run_status"),
    sa.Index("idx_knowledge_runs_status", "status"),
    sa.Index("idx_knowledge_runs_created", sa.text("created_at DESC"), sa.text("id DESC")),
    sa.Index("idx_knowledge_runs_creator", "created_by_user_id"),
)


def _review_columns(similar: str) -> list[sa.Column[object]]:
    return [
        sa.Column("status", sa.String(50), nullable=False, server_default="pending"),
        sa.Column("confidence", _float),
        sa.Column("reasoning", sa.Text),
        sa.Column(similar, _bigint),
        sa.Column("similarity_score", _float),
        sa.Column("similarity_type", sa.String(50)),
        sa.Column("reviewed_by_user_id", _bigint),
        sa.Column("reviewed_at", _timestamp),
        sa.Column("review_action", sa.String(50)),
        sa.Column("review_notes", sa.Text),
        sa.Column("created_at", _timestamp, nullable=False, server_default=sa.text("now()")),
    ]


def _review_rules(entity: str, similar: str) -> list[sa.schema.SchemaItem]:
    prefix = f"idx_{entity}_proposals"
    return [
        sa.CheckConstraint("confidence >= 0 AND confidence <= 1", name="valid_confidence"),
        sa.CheckConstraint("confidence IS NOT NULL OR status <> 'pending'", name="confidence_is_stated_for_review"),
        sa.CheckConstraint(
            "similarity_score IS NULL OR (similarity_score >= 0 AND similarity_score <= 1)", name="valid_similarity"
        ),
        _one_of("status", PROPOSAL_STATUSES, "valid_status"),
        _one_of("similarity_type", SIMILARITY_TYPES, "valid_similarity_type"),
        _one_of("review_action", REVIEW_ACTIONS, "valid_review_action"),
        sa.Index(f"{prefix}_status_confidence", "status", sa.text("confidence DESC"), "id"),
        sa.Index(f"{prefix}_status_created", "status", sa.text("created_at DESC"), "id"),
        sa.Index(f"{prefix}_run_created", "extraction_run_id", sa.text("created_at DESC")),
        sa.Index(f"{prefix}_created", sa.text("created_at DESC"), "id"),
        sa.Index(f"{prefix}_similar", similar, postgresql_where=sa.text(f"{similar} IS NOT NULL")),
        sa.Index(
            f"{prefix}_reviewer", "reviewed_by_user_id", postgresql_where=sa.text("reviewed_by_user_id IS NOT NULL")
        ),
    ]


def _origin() -> list[sa.Column[object]]:
    return [
        sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column(
            "extraction_run_id",
            UUID,
            sa.ForeignKey("knowledge_extraction_runs.id", ondelete="RESTRICT"),
            nullable=False,
        ),
    ]


topic_proposals = sa.Table(
    "topic_proposals",
    proposals,
    *_origin(),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("icon", sa.String(50)),
    sa.Column("color", sa.String(7)),
    *_review_columns("similar_topic_id"),
    sa.Column("entity_id", _bigint),
    sa.Column("message_ids", _jsonb),
    *_review_rules("topic", "similar_topic_id"),
)

atom_proposals = sa.Table(
    "atom_proposals",
    proposals,
    *_origin(),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("meta", _jsonb),
    sa.Column("proposed_topic_ids", _jsonb),
    *_review_columns("similar_atom_id"),
    sa.Column("entity_id", _bigint),
    sa.Column("proposed_links", _jsonb),
    *_review_rules("atom", "similar_atom_id"),
)

feature_flags = sa.Table(
    "feature_flags",
    proposals,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("config", JSONB),
    sa.Column("updated_at", _timestamp, nullable=False, server_default=sa.text("now()")),
    sa.Column("version", _bigint, nullable=False, server_default=sa.text("1")),
)

knowledge_extraction_archive = sa.Table(
    "knowledge_extraction_archive",
    proposals,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("archived_at", _timestamp, nullable=False, server_default=sa.text("now()")),
    sa.Column("run", JSONB, nullable=False),
    sa.Column("topic_proposals", JSONB, nullable=False),
    sa.Column("atom_proposals", JSONB, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    evidence,
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("at", _timestamp),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", JSONB),
    sa.Column("after", JSONB),
    sa.Column("reason", sa.Text),
    sa.Column("dagster_run_id", sa.Text),
)

writer_heartbeat = sa.Table(
    "writer_heartbeat",
    evidence,
    sa.Column("process", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("flag_version", _bigint, nullable=False),
    sa.Column("url", sa.Text),
    sa.Column("started_at", _timestamp, nullable=False),
    sa.Column("seen_at", _timestamp, nullable=False),
)

shadow_failure = sa.Table(
    "shadow_failure",
    evidence,
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("failed_at", _timestamp),
    sa.Column("extraction_run_id", UUID),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("sqlstate", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("content", JSONB, nullable=False),
    sa.Column("repaired_at", _timestamp),
)

capture_log = sa.Table(
    "capture_log",
    evidence,
    sa.Column("id", _bigint, primary_key=True),
    sa.Column("at", _timestamp, nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("linked_rows", _bigint, nullable=False),
    sa.Column("sqlstate", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("swept_at", _timestamp),
)

service_measurement = sa.Table(
    "service_measurement",
    evidence,
    sa.Column("process", sa.Text, primary_key=True),
    sa.Column("at", _timestamp, primary_key=True),
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text, primary_key=True),
    sa.Column("requests", _bigint, nullable=False),
    sa.Column("errors", _bigint, nullable=False),
    sa.Column("refused", _bigint, nullable=False),
    sa.Column("pool_timeouts", _bigint, nullable=False),
    sa.Column("log_seconds", _float, nullable=False),
    sa.Column("log_seconds_squared", _float, nullable=False),
    sa.Column("buckets", sa.ARRAY(_bigint), nullable=False),
)

LINK_COLUMN = "migrated_from_proposal_id"
"""The column of topics and atoms that names the proposal of a row."""

LINK_COLUMNS: dict[str, tuple[sa.Column[object], ...]] = {
    table: (sa.Column(LINK_COLUMN, UUID), sa.Column("migration_timestamp", _timestamp)) for table in ("topics", "atoms")
}

LINK_INDEXES: dict[str, sa.Index] = {
    **{
        table: sa.Index(
            f"idx_{table}_migration",
            sa.text(LINK_COLUMN),
            unique=True,
            postgresql_where=sa.text(f"{LINK_COLUMN} IS NOT NULL"),
        )
        for table in LINK_COLUMNS
    },
    "topic_atoms": sa.Index("idx_topic_atoms_atom", sa.text("atom_id")),
}

ORIGIN_CONSTRAINTS: dict[str, str] = {table: f"{table}_come_from_proposals" for table in LINK_COLUMNS}
"""Added by phase 5: from then on the database rejects a row that names no proposal."""


@dataclass(frozen=True)
class Reference:
    """A foreign key to the id of another table that is added after the tables; `on_delete` keeps a user's DELETE working."""

    table: str
    column: str
    referenced: str
    on_delete: LiteralString

    @property
    def name(self) -> str:
        """The name that PostgreSQL gives to such a constraint."""
        return f"{self.table}_{self.column}_fkey"


REFERENCES = (
    Reference("knowledge_extraction_runs", "created_by_user_id", "users", "SET NULL"),
    Reference("topic_proposals", "similar_topic_id", "topics", "SET NULL"),
    Reference("topic_proposals", "reviewed_by_user_id", "users", "SET NULL"),
    Reference("atom_proposals", "similar_atom_id", "atoms", "SET NULL"),
    Reference("atom_proposals", "reviewed_by_user_id", "users", "SET NULL"),
    Reference("topics", LINK_COLUMN, "topic_proposals", "NO ACTION"),
    Reference("atoms", LINK_COLUMN, "atom_proposals", "NO ACTION"),
)

linked = sa.MetaData()


def _with_links(table: sa.Table) -> sa.Table:
    """The table as it is after phase 1."""
    copy = table.to_metadata(linked)
    for column in LINK_COLUMNS[table.name]:
        copy.append_column(sa.Column(column.name, column.type))
    return copy


linked_topics = _with_links(topics)
linked_atoms = _with_links(atoms)
