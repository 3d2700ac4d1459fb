"""A small legacy knowledge base as SQL: 30 topics, 250 atoms, a third of them without a confidence."""

SOME_ROWS = """
INSERT INTO users (id, first_name, is_active, is_bot) VALUES (1, 'a user', true, false);
INSERT INTO topics (name, description, icon) SELECT 'topic ' || n, 'about ' || n, 'FolderIcon' FROM generate_series(1, 30) n;
INSERT INTO atoms (type, title, content, confidence, user_approved, meta)
SELECT 'insight', 'atom ' || n, 'content ' || n, CASE WHEN n % 3 = 0 THEN NULL ELSE 0.8 END, false, '{"n": 1}'
FROM generate_series(1, 250) n;
INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1 + n % 30, n FROM generate_series(1, 250) n;
"""
