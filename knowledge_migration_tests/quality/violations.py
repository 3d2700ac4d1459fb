"""One row, or two, for each way to break each suite; the constraints that stand in their way are taken off first."""

FREED = """
ALTER TABLE topics DROP CONSTRAINT topics_pkey CASCADE;
DROP INDEX ix_topics_name;
DROP INDEX idx_topics_migration;
ALTER TABLE topics DROP CONSTRAINT topics_migrated_from_proposal_id_fkey;
ALTER TABLE topics ALTER name DROP NOT NULL, ALTER description DROP NOT NULL, ALTER id DROP NOT NULL,
    ALTER name TYPE text, ALTER icon TYPE text, ALTER color TYPE text, ALTER created_at TYPE timestamp;
ALTER TABLE atoms DROP CONSTRAINT atoms_pkey CASCADE;
ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_pkey;
ALTER TABLE atom_links DROP CONSTRAINT atom_links_pkey;
ALTER TABLE knowledge_extraction_runs DROP CONSTRAINT valid_run_status,
    DROP CONSTRAINT knowledge_extraction_runs_created_by_user_id_fkey;
ALTER TABLE topic_proposals DROP CONSTRAINT valid_confidence, DROP CONSTRAINT valid_similarity,
    DROP CONSTRAINT confidence_is_stated_for_review, DROP CONSTRAINT valid_status,
    DROP CONSTRAINT valid_similarity_type, DROP CONSTRAINT valid_review_action,
    DROP CONSTRAINT topic_proposals_extraction_run_id_fkey, DROP CONSTRAINT topic_proposals_reviewed_by_user_id_fkey;
"""

TOPICS = """
INSERT INTO topics (id, name, description, icon, color) VALUES
    (1, 'clean', 'as it should be', 'FolderIcon', '#64748B'),
    (2, 'id twice', 'd', NULL, NULL), (2, 'id twice, again', 'd', NULL, NULL),
    (NULL, 'no id', 'd', NULL, NULL),
    (4, 'name twice', 'd', NULL, NULL), (5, 'name twice', 'd', NULL, NULL),
    (6, 'case', 'd', NULL, NULL), (7, ' Case ', 'd', NULL, NULL),
    (8, '', 'd', NULL, NULL),
    (9, repeat('w', 101), 'd', NULL, NULL),
    (10, NULL, 'no name', NULL, NULL),
    (11, 'no description', NULL, NULL, NULL),
    (12, 'wide icon', 'd', repeat('i', 51), NULL),
    (13, 'no colour', 'd', NULL, '<img src=x onerror=alert(1)>'),
    (14, 'wide colour', 'd', NULL, '#64748B0');
UPDATE topics SET migrated_from_proposal_id = '00000000-0000-0000-0000-00000000000f' WHERE id IN (4, 5);
"""
TOPICS_BROKEN = {
    "created_at has the type TIMESTAMP WITH TIME ZONE": 1,
    "id is never NULL": 1,
    "each id is unique": 2,
    "each migrated_from_proposal_id is unique": 2,
    "each migrated_from_proposal_id names a row of topic_proposals": 2,
    "name has the type VARCHAR(100)": 1,
    "icon has the type VARCHAR(50)": 1,
    "color has the type VARCHAR(7)": 1,
    "name is never NULL": 1,
    "description is never NULL": 1,
    "each name is unique": 2,
    "name is not empty": 1,
    "no two names differ in case or blanks only": 4,
    "name has at most 100 characters": 1,
    "icon has at most 50 characters": 1,
    "color has at most 7 characters": 2,
    "color is an upper-case #RRGGBB": 2,
}

ATOMS = """
INSERT INTO atoms (id, type, title, content, confidence, user_approved) VALUES
    (1, 'insight', 'clean', 'c', 1, false),
    (2, 'riddle', 'unknown type', 'c', NULL, false),
    (3, 'insight', 'certain beyond certainty', 'c', 1.5, false),
    (4, 'insight', '', 'c', 0, false),
    (5, 'insight', 'says nothing', '', 0.5, false),
    (6, 'insight', 'of no topic', 'c', 0.5, false);
INSERT INTO topic_atoms (topic_id, atom_id, position) VALUES
    (1, 1, 0), (1, 2, NULL), (1, 3, -1), (1, 4, 0), (1, 4, 0), (1, 5, 0), (99, 1, 0), (1, 99, 0);
INSERT INTO atom_links (from_atom_id, to_atom_id, link_type, strength) VALUES
    (1, 2, 'solves', 0.5), (1, 3, 'solves', 2), (1, 4, 'see_also', NULL), (5, 5, 'solves', 1),
    (2, 3, 'solves', 1), (2, 3, 'solves', 1), (1, 99, 'solves', 1), (98, 1, 'solves', 1);
"""
ATOMS_BROKEN = {
    "type is one of problem, solution, decision, question, insight, pattern, requirement": 1,
    "confidence is between 0 and 1": 1,
    "title is not empty": 1,
    "content is not empty": 1,
    "each atom belongs to a topic (strategy §9.1, check 5)": 1,
}
TOPIC_ATOMS_BROKEN = {
    "each pair of topic_id and atom_id is unique": 2,
    "each topic_id names a row of topics": 1,
    "each atom_id names a row of atoms": 1,
    "position is 0 or more": 1,
}
ATOM_LINKS_BROKEN = {
    "each pair of from_atom_id and to_atom_id is unique": 2,
    "each from_atom_id names a row of atoms": 1,
    "each to_atom_id names a row of atoms": 1,
    "link_type is one of continues, solves, contradicts, supports, refines, relates_to, depends_on": 1,
    "strength is between 0 and 1": 1,
    "no atom is linked to itself": 1,
}

RUNS = """
INSERT INTO knowledge_extraction_runs
    (id, status, message_ids, message_count, time_span_seconds, started_at, completed_at, error_message, created_by_user_id)
VALUES
    ('00000000-0000-0000-0000-000000000001', 'completed', '[1, 2]', 2, 60, '2026-01-01', '2026-01-02', NULL, NULL),
    (gen_random_uuid(), 'odd', '[]', 0, NULL, '2026-01-01', NULL, NULL, NULL),
    (gen_random_uuid(), 'running', '[]', -1, NULL, '2026-01-01', NULL, NULL, NULL),
    (gen_random_uuid(), 'running', '[1]', 3, NULL, '2026-01-01', NULL, NULL, NULL),
    (gen_random_uuid(), 'running', '[]', 0, -5, '2026-01-01', NULL, NULL, NULL),
    (gen_random_uuid(), 'completed', '[]', 0, NULL, '2026-01-02', '2026-01-01', NULL, NULL),
    (gen_random_uuid(), 'running', '[]', 0, NULL, '2026-01-01', NULL, NULL, 99),
    (gen_random_uuid(), 'running', '[]', 0, NULL, '2026-01-01', '2026-01-02', NULL, NULL),
    (gen_random_uuid(), 'completed', '[]', 0, NULL, '2026-01-01', NULL, NULL, NULL),
    (gen_random_uuid(), 'failed', '[]', 0, NULL, '2026-01-01', '2026-01-02', NULL, NULL);
"""
RUNS_BROKEN = {
    "status is one of pending, running, completed, failed": 1,
    "message_count is 0 or more": 1,
    "time_span_seconds is 0 or more": 1,
    "completed_at is not before started_at": 1,
    "each created_by_user_id names a row of users": 1,
    "a run has an end exactly when it has ended": 2,
    "a failed run states its error": 1,
    "message_count is the length of message_ids": 2,
}

TOPIC_PROPOSALS = """
INSERT INTO topic_proposals
    (extraction_run_id, name, description, status, confidence, similarity_score, similarity_type, similar_topic_id,
     review_action, reviewed_at, reviewed_by_user_id, color)
SELECT '00000000-0000-0000-0000-000000000001', 'n', 'd', status, confidence, score, type, topic, action, moment, who, color
FROM (VALUES
    ('pending', 0.5, NULL, NULL, NULL, NULL, NULL::timestamptz, NULL::bigint, '#64748B'),
    ('odd', 0.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('approved', 0.5, NULL, NULL, NULL, 'odd', now(), NULL, NULL),
    ('pending', 0.5, 0.5, 'odd', NULL, NULL, NULL, NULL, NULL),
    ('pending', 1.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('pending', 0.5, 1.5, 'exact', NULL, NULL, NULL, NULL, NULL),
    ('pending', 0.5, 0.5, NULL, NULL, NULL, NULL, NULL, NULL),
    ('pending', 0.5, 0.5, 'exact', 99, NULL, NULL, NULL, NULL),
    ('pending', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('approved', 0.5, NULL, NULL, NULL, 'approve', NULL, NULL, NULL),
    ('rejected', 0.5, NULL, NULL, NULL, 'reject', now(), 99, NULL),
    ('pending', 0.5, NULL, NULL, NULL, NULL, NULL, NULL, 'emerald')
) AS made (status, confidence, score, type, topic, action, moment, who, color);
INSERT INTO topic_proposals (extraction_run_id, name, description, confidence)
VALUES ('00000000-0000-0000-0000-0000000000ff', 'of no run', 'd', 0.5);
"""
TOPIC_PROPOSALS_BROKEN = {
    "status is one of pending, approved, auto_approved, rejected, merged, withdrawn, parked": 1,
    "review_action is one of approve, auto_approve, auto_approve_migration, dual_write, reject, merge, undo, park, replay": 1,
    "similarity_type is one of exact, spelling, meaning": 1,
    "confidence is between 0 and 1": 1,
    "similarity_score is between 0 and 1": 1,
    "each extraction_run_id names a row of knowledge_extraction_runs": 1,
    "each similar_topic_id names a row of topics": 1,
    "each reviewed_by_user_id names a row of users": 1,
    "a pending proposal states its confidence": 1,
    "a similarity states both its score and its type": 1,
    "a decided proposal states the time and the action of the decision": 1,
    "color is an upper-case #RRGGBB": 1,
}

ATOM_PROPOSALS = """
INSERT INTO atom_proposals (extraction_run_id, type, title, content, confidence, proposed_topic_ids)
SELECT '00000000-0000-0000-0000-000000000001', type, 't', 'c', 0.5, CAST(topics AS jsonb)
FROM (VALUES ('insight', '[1, "a"]'), ('riddle', NULL), ('insight', '{}'), ('insight', '[true]')) AS made (type, topics);
"""
ATOM_PROPOSALS_BROKEN = {
    "type is one of problem, solution, decision, question, insight, pattern, requirement": 1,
    "proposed_topic_ids is a list of topics (numbers) and topic proposals (strings)": 2,
}

EVERYTHING = FREED + TOPICS + ATOMS + RUNS + TOPIC_PROPOSALS + ATOM_PROPOSALS

BROKEN = {
    "topics": TOPICS_BROKEN,
    "atoms": ATOMS_BROKEN,
    "topic_atoms": TOPIC_ATOMS_BROKEN,
    "atom_links": ATOM_LINKS_BROKEN,
    "topic_proposals": TOPIC_PROPOSALS_BROKEN,
    "atom_proposals": ATOM_PROPOSALS_BROKEN,
    "extraction_runs": RUNS_BROKEN,
}
