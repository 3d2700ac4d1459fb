"""Pending proposals, as extractions write them."""

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES

RUN = "00000000-0000-7000-8000-00000000000a"

MAKE = """
INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count, settings)
VALUES (%(run)s, 'completed', '[1, 2, 3]', 3, '{"extractor": "local", "mode": "proposal"}') ON CONFLICT DO NOTHING
"""
TOPICS = """
INSERT INTO topic_proposals (extraction_run_id, name, description, icon, color, confidence, reasoning, message_ids)
SELECT %(run)s, 'Topic ' || n, 'What topic ' || n || ' is about.', 'FolderIcon', '#64748B', 0.94 - n * 0.0001,
       'It is named in three messages.', '[1, 2]'
FROM generate_series(1, %(topics)s) AS n
"""
ATOMS = """
INSERT INTO atom_proposals (extraction_run_id, type, title, content, meta, confidence, reasoning)
SELECT %(run)s, 'decision', 'Atom ' || n, 'What was decided, number ' || n || '.', '{"part": 1}', 0.84 - n * 0.0001,
       'A message says "we decided".'
FROM generate_series(1, %(atoms)s) AS n
"""


def waiting_proposals(database: Database, topics: int = 12, atoms: int = 3) -> None:
    """Users, messages and pending proposals, by descending confidence: `Topic 1`, `Topic 2` …, `Atom 1` …"""
    with database.connect("test") as connection, connection.transaction():
        connection.execute(PEOPLE_AND_MESSAGES)
        for statement in (MAKE, TOPICS, ATOMS):
            connection.execute(statement, {"run": RUN, "topics": topics, "atoms": atoms})
