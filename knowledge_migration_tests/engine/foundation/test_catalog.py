"""Every way in which a database can differ from the declaration, one violation each: exactly those are told."""

import psycopg
import pytest

from knowledge_migration.engine.foundation.catalog import Difference, legacy_differences, proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings


def alter(connection: Connection, *statements: str) -> None:
    """Changes the schema, one statement after the other."""
    for text in statements:
        connection.execute(text)


def told(differences: list[Difference], *, tolerated: bool) -> set[tuple[str, str, str]]:
    """Object, expectation and finding of those that are tolerated, or of those that are not."""
    return {(diff.object, diff.expected, diff.actual) for diff in differences if diff.tolerated is tolerated}


def test_the_legacy_schema_has_no_differences(any_database: Database) -> None:
    assert legacy_differences(any_database) == []


@pytest.mark.filterwarnings("ignore:Did not recognize type 'pg_lsn'")
def test_each_difference_of_the_legacy_schema_is_told_and_only_harmless_ones_are_tolerated(
    any_database: Database,
) -> None:
    with any_database.connect() as connection:
        alter(
            connection,
            "DROP TABLE atom_links",
            "ALTER TABLE sources DROP COLUMN config",
            "ALTER TABLE atoms ALTER confidence TYPE numeric",
            "ALTER TABLE messages ALTER noise_factors TYPE pg_lsn USING NULL",
            "ALTER TABLE topics ALTER description DROP NOT NULL",
            "DROP INDEX ix_users_email",
            "DROP INDEX ix_users_phone",
            "CREATE INDEX ix_users_phone ON users (phone)",
            "ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_pkey",
            "ALTER TYPE sourcetype RENAME VALUE 'slack' TO 'chat'",
            # what rows decide one by one, or what is only slower or stricter
            "ALTER TABLE topics ALTER name TYPE varchar(300)",
            "ALTER TABLE atoms ALTER title TYPE text",
            "ALTER TABLE users ALTER id TYPE integer",
            "ALTER TABLE messages ALTER source_id TYPE bigint",
            "ALTER TABLE topics ALTER icon SET NOT NULL",
            "ALTER INDEX ix_topics_name RENAME TO topics_name_key",
            "DROP INDEX ix_atoms_title",
            "ALTER TABLE messages DROP CONSTRAINT messages_topic_id_fkey",
        )
    differences = legacy_differences(any_database)

    assert told(differences, tolerated=False) == {
        ("table atom_links", "present", "missing"),
        ("column sources.config", "JSONB", "missing"),
        ("column atoms.confidence", "DOUBLE PRECISION", "NUMERIC"),
        ("column messages.noise_factors", "JSONB", "a type that is not known here"),
        ("column topics.description", "NOT NULL", "NULL allowed"),
        ("index ix_users_email", "unique (email)", "missing"),
        ("index ix_users_phone", "unique (phone)", "(phone)"),
        ("primary key of topic_atoms", "topic_id, atom_id", "missing"),
        ("column sources.type", "sourcetype (telegram, slack, email, api)", "sourcetype (telegram, chat, email, api)"),
    }
    assert told(differences, tolerated=True) == {
        ("column topics.name", "VARCHAR(100)", "VARCHAR(300)"),
        ("column atoms.title", "VARCHAR(200)", "TEXT"),
        ("column users.id", "BIGINT", "INTEGER"),
        ("column messages.source_id", "INTEGER", "BIGINT"),
        ("column topics.icon", "NULL allowed", "NOT NULL"),
        ("index ix_topics_name", "unique (name)", "unique (name), named topics_name_key"),
        ("index ix_atoms_title", "(title)", "missing"),
        ("foreign key messages.topic_id", "references topics, ON DELETE NO ACTION", "missing"),
    }


def test_indexes_that_only_look_unique_are_told_and_an_enum_with_more_labels_is_tolerated(
    database: Database, connection: Connection
) -> None:
    alter(
        connection,
        "ALTER TYPE sourcetype ADD VALUE 'sms' BEFORE 'email'",
        "DROP INDEX ix_users_email",
        "CREATE UNIQUE INDEX ix_users_email ON users (email) WHERE is_active",
        "CREATE UNIQUE INDEX by_lower_email ON users (lower(email))",
        "DROP INDEX ix_topics_name",
        "INSERT INTO topics (name, description) VALUES ('twice', 'a'), ('twice', 'b')",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_topics_name ON topics (name)")

    differences = legacy_differences(database)

    assert told(differences, tolerated=False) == {
        ("ix_topics_name of topics", "valid", "invalid"),
        ("index ix_users_email", "unique (email)", "unique (email) WHERE is_active"),
    }
    assert told(differences, tolerated=True) == {
        (
            "column sources.type",
            "sourcetype (telegram, slack, email, api)",
            "sourcetype (telegram, slack, sms, email, api)",
        )
    }


def test_before_the_phase_everything_of_the_workflow_is_missing(database: Database) -> None:
    found = {difference.object: difference.actual for difference in proposal_differences(database)}

    assert {found.pop(f"table {table}") for table in ("topic_proposals", "atom_proposals", "feature_flags")} == {
        "missing"
    }
    assert set(found.values()) == {"missing"}


def test_each_difference_of_the_workflow_is_told_and_none_is_tolerated(any_database: Database) -> None:
    schema.upgrade(any_database, SchemaChangeSettings())
    with any_database.connect() as connection:
        alter(
            connection,
            "DROP TABLE feature_flags",
            "ALTER TABLE topic_proposals DROP COLUMN review_notes",
            "ALTER TABLE atom_proposals ALTER reasoning TYPE varchar(10)",
            "ALTER TABLE topic_proposals ALTER name DROP NOT NULL",
            "ALTER TABLE atom_proposals ALTER status SET DEFAULT 'approved'",
            "ALTER TABLE knowledge_extraction_runs ALTER created_at DROP DEFAULT",
            "ALTER TABLE topic_proposals DROP CONSTRAINT valid_status",
            "ALTER TABLE topic_proposals ADD CONSTRAINT valid_status CHECK (status IN ('pending', 'approved'))",
            "ALTER TABLE topic_proposals DROP CONSTRAINT valid_confidence",
            "ALTER TABLE atom_proposals DROP CONSTRAINT valid_confidence",
            "ALTER TABLE atom_proposals ADD CONSTRAINT valid_confidence"
            " CHECK (confidence >= 0 AND confidence <= 1) NOT VALID",
            "DROP INDEX idx_topics_migration",
            "CREATE INDEX idx_topics_migration ON topics (migrated_from_proposal_id)"
            " WHERE migrated_from_proposal_id IS NOT NULL",
            "DROP INDEX idx_atoms_migration",
            "DROP INDEX idx_topic_proposals_created",
            "CREATE INDEX idx_topic_proposals_created ON topic_proposals (created_at, id)",
            "DROP INDEX idx_topic_proposals_similar",
            "CREATE INDEX idx_topic_proposals_similar ON topic_proposals (similar_topic_id)",
            "ALTER TABLE topic_proposals DROP CONSTRAINT topic_proposals_extraction_run_id_fkey",
            "ALTER TABLE topic_proposals ADD CONSTRAINT topic_proposals_extraction_run_id_fkey"
            " FOREIGN KEY (extraction_run_id) REFERENCES knowledge_extraction_runs ON DELETE CASCADE",
            "ALTER TABLE topic_proposals DROP CONSTRAINT topic_proposals_similar_topic_id_fkey",
            "ALTER TABLE topic_proposals ADD CONSTRAINT topic_proposals_similar_topic_id_fkey"
            " FOREIGN KEY (similar_topic_id) REFERENCES topics NOT VALID",
            "ALTER TABLE atoms DROP CONSTRAINT atoms_migrated_from_proposal_id_fkey",
        )
    differences = proposal_differences(any_database)

    assert told(differences, tolerated=True) == set()
    statuses = "'pending', 'approved', 'auto_approved', 'rejected', 'merged', 'withdrawn', 'parked'"
    assert {(name, found) for name, _, found in told(differences, tolerated=False)} == {
        ("table feature_flags", "missing"),
        ("every_flag_change_has_a_version of feature_flags", "missing"),
        ("column topic_proposals.review_notes", "missing"),
        ("column atom_proposals.reasoning", "VARCHAR(10)"),
        ("column topic_proposals.name", "NULL allowed"),
        ("default of column atom_proposals.status", "'approved'::character varying"),
        ("default of column knowledge_extraction_runs.created_at", "none"),
        (
            "check valid_status of topic_proposals",
            "status::text = ANY (ARRAY['pending'::character varying, 'approved'::character varying]::text[])",
        ),
        ("check valid_confidence of topic_proposals", "missing"),
        ("valid_confidence of atom_proposals", "not validated"),
        ("index idx_topics_migration", "(migrated_from_proposal_id) WHERE migrated_from_proposal_id IS NOT NULL"),
        ("index idx_atoms_migration", "missing"),
        ("index idx_topic_proposals_created", "(created_at, id)"),
        ("index idx_topic_proposals_similar", "(similar_topic_id)"),
        (
            "foreign key topic_proposals.extraction_run_id",
            "references knowledge_extraction_runs, ON DELETE CASCADE",
        ),
        ("foreign key topic_proposals.similar_topic_id", "references topics, ON DELETE NO ACTION"),
        ("topic_proposals_similar_topic_id_fkey of topic_proposals", "not validated"),
        ("atoms_migrated_from_proposal_id_fkey of atoms", "missing"),
    }
    expected = {name: wanted for name, wanted, _ in told(differences, tolerated=False)}
    assert expected["check valid_status of topic_proposals"] == f"status IN ({statuses})"
    assert expected["index idx_topic_proposals_created"] == "(created_at DESC, id)"
    assert expected["foreign key topic_proposals.similar_topic_id"] == "references topics, ON DELETE SET NULL"
