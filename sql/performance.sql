-- name: benchmark_extent
-- The number of proposals of both kinds. One index-only scan of each table.
SELECT (SELECT count(*) FROM public.topic_proposals) + (SELECT count(*) FROM public.atom_proposals) AS proposals

-- name: benchmark_middle_run
-- A run with proposals, for the list of one run's proposals. One row of an index.
SELECT extraction_run_id AS id FROM public.topic_proposals ORDER BY created_at DESC, id LIMIT 1

-- name: benchmark_pending_proposals
-- Strategy §9.3, query 1: the first page of the review queue, ordered by id within a confidence. Scans
-- idx_topic_proposals_status_confidence.
SELECT * FROM public.topic_proposals WHERE status = 'pending' ORDER BY confidence DESC, id LIMIT 50

-- name: benchmark_run_history
-- Strategy §9.3, query 2: the latest runs with the number of their topic proposals (ERRATA V3). It counts for these
-- runs only, and as the service up to 10,000 of each: joining and grouping first would read every proposal. idx_knowledge_runs_created, then
-- idx_topic_proposals_run_created per run.
SELECT latest.*, counted.proposal_count
FROM (SELECT * FROM public.knowledge_extraction_runs ORDER BY created_at DESC, id DESC LIMIT 20) AS latest
CROSS JOIN LATERAL (
    SELECT count(*) AS proposal_count
    FROM (SELECT FROM public.topic_proposals WHERE extraction_run_id = latest.id LIMIT 10000) AS proposals
) AS counted
ORDER BY latest.created_at DESC, latest.id DESC

-- name: benchmark_similar_proposals
-- Strategy §9.3, query 3: proposals that are similar to an existing topic, the most similar first (ERRATA V9: without an order,
-- LIMIT returns any ten).
SELECT *
FROM public.topic_proposals
WHERE status = 'pending' AND similar_topic_id IS NOT NULL AND similarity_score > %(flagged)s
ORDER BY similarity_score DESC, id
LIMIT 10

-- name: benchmark_table_rows
-- The rows of each of these tables by the statistics; -1 if it was never analyzed. Reads the catalog only.
SELECT namespaces.nspname || '.' || classes.relname AS name, classes.reltuples::bigint AS rows
FROM pg_class AS classes
JOIN pg_namespace AS namespaces ON namespaces.oid = classes.relnamespace
WHERE namespaces.nspname || '.' || classes.relname = ANY(%(tables)s)

-- name: endpoint_atom
-- GET /api/v1/atoms/:id: one atom, by its primary key.
SELECT id, type, title, content, confidence, user_approved, meta, created_at, updated_at
FROM public.atoms
WHERE id = %(id)s

-- name: endpoint_atoms_by_title
-- The application's search for the atoms that an extraction links to (link_atoms): all of exactly that title.
-- Index ix_atoms_title.
SELECT id, type, title, content, confidence, user_approved, meta, created_at, updated_at
FROM public.atoms
WHERE title = %(title)s
ORDER BY id

-- name: endpoint_atoms_of_a_topic
-- GET /api/v1/topics/:id/atoms: primary key of topic_atoms (it begins with topic_id), then that of atoms.
SELECT
    atoms.id, atoms.type, atoms.title, atoms.content, atoms.confidence, atoms.user_approved, atoms.meta,
    atoms.created_at, atoms.updated_at, topic_atoms.position, topic_atoms.note
FROM public.topic_atoms
JOIN public.atoms ON atoms.id = topic_atoms.atom_id
WHERE topic_atoms.topic_id = %(id)s
ORDER BY topic_atoms.position, atoms.id

-- name: endpoint_atoms_page
-- GET /api/v1/atoms: one page of 50, from the atom drawn. Range scan of the primary key.
SELECT id, type, title, content, confidence, user_approved, meta, created_at, updated_at
FROM public.atoms
WHERE id >= %(id)s
ORDER BY id
LIMIT 50

-- name: endpoint_control
-- Constant work that reads no table: its latency shows the speed of the machine.
SELECT sum(sqrt(n)) FROM generate_series(1, 2000) AS n

-- name: endpoint_draw_atoms
-- Atoms spread evenly over all rows, with their titles; drawn like endpoint_draw_topics, and one lookup per drawn row.
SELECT id, (SELECT title FROM public.atoms WHERE atoms.id = numbered.id) AS title
FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM public.atoms) AS numbered
CROSS JOIN (SELECT count(*) AS total FROM public.atoms) AS counted
WHERE (place + 1) * %(samples)s / total > place * %(samples)s / total
ORDER BY id

-- name: endpoint_draw_topics
-- Topics spread evenly over all rows, at most `samples`, and always the same ones of the same rows: row p of n (from 0) is
-- drawn where p * samples / n increases. Two scans of the primary key, which keep nothing.
SELECT id
FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM public.topics) AS numbered
CROSS JOIN (SELECT count(*) AS total FROM public.topics) AS counted
WHERE (place + 1) * %(samples)s / total > place * %(samples)s / total
ORDER BY id

-- name: endpoint_lock_timeout
-- Sets the lock timeout of this transaction, without a statement timeout.
SELECT set_config('lock_timeout', %(timeout)s, true), set_config('statement_timeout', '0', true)

-- name: endpoint_round_trip
-- An empty query: the latency of a round trip to the server.
SELECT 1

-- name: endpoint_statement_timeout
-- Sets the statement timeout of this transaction.
SELECT set_config('statement_timeout', %(timeout)s, true)

-- name: endpoint_topic
-- GET /api/v1/topics/:id: one topic, by its primary key.
SELECT id, name, description, icon, color, created_at, updated_at FROM public.topics WHERE id = %(id)s

-- name: endpoint_topics_page
-- GET /api/v1/topics: one page of 50, from the topic drawn. Range scan of the primary key.
SELECT id, name, description, icon, color, created_at, updated_at
FROM public.topics
WHERE id >= %(id)s
ORDER BY id
LIMIT 50

-- name: explain
-- The plan of a query that takes too long to execute once more; reads nothing.
EXPLAIN (VERBOSE, FORMAT JSON) {query}

-- name: explain_analyze
-- The plan of an executed SELECT, in a read-only session. VERBOSE names the schema of each table.
EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON) {query}
