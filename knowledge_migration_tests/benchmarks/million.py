"""A database with a million proposals, made by the server itself in less than two minutes, the same each time.

What it is like: a backfill of 840,000 rows, all of one run, each with its row in topics or atoms; 20,000 extraction runs
with 100,000 proposals that wait, 40,000 that were approved automatically (with their rows) and 20,000 that were rejected.
Three of ten that wait resemble an existing row. Texts have the lengths of real ones. The backfill is younger than most runs,
as it is after a dual write of weeks: it stands on the first page of the run history with all its proposals, and what waits
lies behind it in the order of age.
"""

from knowledge_migration.demo.loader import build_legacy_schema
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings

PROPOSALS = 1_000_000

SETTINGS = "SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '128MB';"
"""References need not be looked up a million times: the statements below make none that is wrong."""

RUNS = """
INSERT INTO users (first_name, is_active, is_bot) SELECT 'user ' || n, true, false FROM generate_series(1, 50) AS n;
INSERT INTO knowledge_extraction_runs
    (id, status, message_ids, message_count, settings, completed_at, created_by_user_id, created_at)
SELECT md5('run' || n)::uuid, 'completed', jsonb_build_array(n, n + 1, n + 2), 3, '{"mode": "dual_write"}', now(), 1 + n % 50,
       now() - n * interval '3 minutes'
FROM generate_series(1, 20000) AS n;
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, settings, completed_at, created_at)
VALUES (md5('backfill')::uuid, 'completed', '[]', 0, '{"mode": "backfill"}', now(), now() - interval '20 minutes');
"""

NUMBERED = """
CREATE TEMPORARY TABLE numbered AS
SELECT n, n % 5 = 0 AS of_topic, md5('proposal' || n)::uuid AS id, status,
       CASE WHEN n <= 840000 THEN md5('backfill')::uuid ELSE md5('run' || run)::uuid END AS run,
       CASE WHEN n <= 840000 THEN now() - interval '20 minutes' + n * interval '1 millisecond'
            ELSE now() - run * interval '3 minutes' END AS created_at,
       CASE WHEN n <= 840000 AND n % 3 = 0 THEN NULL WHEN status = 'auto_approved' THEN 0.95 + n % 50 / 1000.0
            ELSE 0.3 + n * 7919::bigint % 650 / 1000.0 END AS confidence,
       CASE WHEN status = 'pending' AND n / 5 % 10 < 3 THEN 1 + n * 31::bigint % 160000 END AS similar_to,
       CASE WHEN status = 'pending' AND n / 5 % 10 < 3 THEN 0.6 + n * 131::bigint % 400 / 1000.0 END AS similarity
FROM (
    SELECT n, 1 + n * 7919::bigint % 20000 AS run,
           CASE WHEN n <= 840000 THEN 'approved' WHEN n <= 940000 THEN 'pending'
                WHEN n <= 980000 THEN 'auto_approved' ELSE 'rejected' END AS status
    FROM generate_series(1, 1000000) AS n
) AS drawn
"""

TOPIC_PROPOSALS = """
INSERT INTO topic_proposals (id, extraction_run_id, name, description, icon, color, status, confidence, similar_topic_id,
                             similarity_score, similarity_type, review_action, entity_id, created_at)
SELECT id, run, 'Topic of the knowledge base, number ' || n, repeat('What is known about topic ' || n || '. ', 4), 'FolderIcon',
       '#64748B', status, confidence, similar_to, similarity, CASE WHEN similar_to IS NOT NULL THEN 'spelling' END,
       CASE status WHEN 'approved' THEN 'auto_approve_migration' WHEN 'auto_approved' THEN 'auto_approve' END,
       CASE WHEN status IN ('approved', 'auto_approved') THEN n / 5 END, created_at
FROM numbered WHERE of_topic
"""
ATOM_PROPOSALS = """
INSERT INTO atom_proposals (id, extraction_run_id, type, title, content, meta, status, confidence, similar_atom_id,
                            similarity_score, similarity_type, review_action, entity_id, created_at)
SELECT id, run, 'insight', 'Something that somebody found out, number ' || n, repeat('What was found out about ' || n || '. ', 8),
       '{"source": "llm_extraction"}', status, confidence, similar_to, similarity,
       CASE WHEN similar_to IS NOT NULL THEN 'spelling' END,
       CASE status WHEN 'approved' THEN 'auto_approve_migration' WHEN 'auto_approved' THEN 'auto_approve' END,
       CASE WHEN status IN ('approved', 'auto_approved') THEN n END, created_at
FROM numbered WHERE NOT of_topic
"""
TOPICS = """
INSERT INTO topics (id, name, description, icon, color, created_at, migrated_from_proposal_id, migration_timestamp)
SELECT entity_id, name, description, icon, color, created_at, id, created_at
FROM topic_proposals WHERE entity_id IS NOT NULL
"""
ATOMS = """
INSERT INTO atoms (id, type, title, content, confidence, user_approved, meta, created_at, migrated_from_proposal_id,
                   migration_timestamp)
SELECT entity_id, type, title, content, confidence, false, meta::json, created_at, id, created_at
FROM atom_proposals WHERE entity_id IS NOT NULL
"""
NUMBERS = """
SELECT setval(pg_get_serial_sequence('topics', 'id'), (SELECT max(id) FROM topics)),
       setval(pg_get_serial_sequence('atoms', 'id'), (SELECT max(id) FROM atoms))
"""
"""Somebody may approve proposals here: new rows get numbers behind the existing ones."""


def million_proposals(url: str) -> Database:
    """Fills an empty database: the legacy schema, phase 1, and the rows; needs a superuser. Returns the database."""
    database = Database(url)
    build_legacy_schema(database)
    schema.upgrade(database, SchemaChangeSettings())
    with database.connect("bench") as connection:
        rows = (RUNS, NUMBERED, TOPIC_PROPOSALS, ATOM_PROPOSALS, TOPICS, ATOMS)
        for text in (SETTINGS, *rows, NUMBERS, "VACUUM ANALYZE"):
            connection.execute(text)
    return database
