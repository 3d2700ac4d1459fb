"""A hundred proposals with many ties in every order, in nine extraction runs of five days."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

DAY = datetime(2026, 1, 1, tzinfo=UTC)
RUN_2 = UUID(hashlib.md5(b"run2").hexdigest())

ROWS = """
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, created_at)
SELECT md5('run' || n)::uuid, CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'completed' END, '[]', 0,
       timestamptz '2026-01-01 00:00Z' + (n / 2) * interval '1 day'
FROM generate_series(1, 9) AS n;
INSERT INTO topics (name, description) VALUES ('similar', '');
INSERT INTO topic_proposals (extraction_run_id, name, description, status, confidence, created_at, similar_topic_id,
                             similarity_score, similarity_type)
SELECT md5('run' || 1 + n % 4)::uuid, 't' || n, '', (ARRAY['pending', 'approved', 'rejected'])[1 + n % 3],
       CASE WHEN n % 3 = 1 AND n % 2 = 0 THEN NULL ELSE (n % 4) / 3.0 END,
       timestamptz '2026-01-01 00:00Z' + (n % 5) * interval '1 microsecond',
       CASE WHEN n % 4 = 0 THEN 1 END, CASE WHEN n % 4 = 0 THEN n / 100.0 END, CASE WHEN n % 4 = 0 THEN 'spelling' END
FROM generate_series(1, 60) AS n;
INSERT INTO atom_proposals (extraction_run_id, type, title, content, status, confidence, created_at)
SELECT md5('run' || 1 + n % 4)::uuid, 'insight', 'a' || n, '', (ARRAY['pending', 'approved'])[1 + n % 2], (n % 4) / 3.0,
       timestamptz '2026-01-01 00:00Z' + (n % 5) * interval '1 microsecond'
FROM generate_series(1, 40) AS n;
"""
