"""A small legacy knowledge base as SQL: 30 topics, 250 atoms, a third of them without a confidence."""

SOME_ROWS = """
INSERT INTO users (id, first_name, is_active, is_bot) VALUES (1, 'a user', true, false);
INSERT INTO topics (name, description, icon) SELECT 'topic ' || n, 'about ' || n, 'FolderIcon' FROM generate_series(1, 30) n;
INSERT INTO atoms (type, title, content, confidence, user_approved, meta)
SELECT 'insight', 'atom ' || n, 'content ' || n, CASE WHEN n % 3 = 0 THEN NULL ELSE 0.8 END, false, '{"n": 1}'
FROM generate_series(1, 250) n;
INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1 + n % 30, n FROM generate_series(1, 250) n;
"""

ODD_ROWS = """
INSERT INTO topics (name, description, icon, color, created_at)
SELECT 'topic ' || n, CASE n % 7 WHEN 0 THEN '' ELSE 'about ' || n END, CASE n % 2 WHEN 0 THEN 'FolderIcon' END,
       CASE n % 3 WHEN 0 THEN '#64748B' WHEN 1 THEN 'emerald' END, CASE n % 5 WHEN 0 THEN NULL ELSE now() END
FROM generate_series(1, 60) AS n;
INSERT INTO atoms (type, title, content, confidence, user_approved, meta)
SELECT CASE n % 4 WHEN 0 THEN 'mystery' ELSE 'insight' END, 'atom ' || n, CASE n % 9 WHEN 0 THEN '' ELSE 'content ' || n END,
       CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN 0.0 WHEN 2 THEN 1.0 ELSE 0.73 END, n % 2 = 0,
       CASE n % 3 WHEN 0 THEN 'null'::json WHEN 1 THEN '{"b": 1,  "a": [2]}'::json END
FROM generate_series(1, 400) AS n;
INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1 + (n * k) % 60, n
FROM generate_series(1, 390) AS n, generate_series(1, 3) AS k ON CONFLICT DO NOTHING;
"""
"""60 topics and 400 atoms with every oddity that a legacy row may have, and their relations."""
