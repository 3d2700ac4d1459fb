"""A handful of rows in the legacy tables, with the values that comparisons get wrong: NULL, '', 0.0, white space in json."""

from knowledge_migration.engine.foundation.database import Connection

ROWS = """
INSERT INTO users (id, first_name, email, is_active, is_bot) VALUES (1, 'Ada', 'ada@example.org', true, false);
INSERT INTO sources (id, name, type, is_active) VALUES (1, 'chat', 'telegram', true), (2, 'mail', 'email', true);
INSERT INTO topics (id, name, description, icon, color) VALUES
    (1, 'Backups', 'How we keep copies', 'FolderIcon', '#64748B'),
    (2, 'Locks', '', NULL, 'emerald'),
    (15000, 'Ünïcode', 'fünf', '', NULL);
INSERT INTO messages (id, external_message_id, content, sent_at, source_id, author_id, analyzed, topic_id, confidence)
VALUES (1, 'm1', 'hello', '2026-01-02 03:04:05.678901', 1, 1, true, 1, 0.0);
INSERT INTO atoms (id, type, title, content, confidence, user_approved, meta, embedding) VALUES
    (1, 'problem', 'Disk full', 'No space left', 0.0, false, '{"a": 1}', NULL),
    (2, 'solution', 'Buy a disk', 'It helps', NULL, true, 'null', NULL),
    (3, 'decision', 'Postpone', 'Later', 0.9, false, NULL, array_fill(0.25::real, ARRAY[1536])::vector),
    (20001, 'insight', 'Same', 'Same', 0.7, false, '{}', NULL);
INSERT INTO topic_atoms (topic_id, atom_id, position, note) VALUES (1, 1, 1, 'first'), (1, 2, NULL, NULL);
INSERT INTO atom_links (from_atom_id, to_atom_id, link_type, strength) VALUES (2, 1, 'solves', 0.5);
"""


def fill(connection: Connection) -> None:
    """Puts the rows into empty legacy tables, at one fixed time."""
    with connection.transaction():
        connection.execute(ROWS)
        for table in ("users", "sources", "topics", "messages", "atoms", "topic_atoms", "atom_links"):
            connection.execute(
                f"UPDATE {table} SET created_at = '2026-01-01 00:00:00+00', updated_at = NULL"  # noqa: S608
            )
