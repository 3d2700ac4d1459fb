-- name: advance_sequences
-- Sets each sequence beyond the largest id that was copied in.
SELECT
    setval(pg_get_serial_sequence('public.users', 'id'), coalesce(max(users.id), 0) + 1, false),
    (SELECT setval(pg_get_serial_sequence('public.sources', 'id'), coalesce(max(id), 0) + 1, false) FROM public.sources),
    (SELECT setval(pg_get_serial_sequence('public.topics', 'id'), coalesce(max(id), 0) + 1, false) FROM public.topics),
    (SELECT setval(pg_get_serial_sequence('public.messages', 'id'), coalesce(max(id), 0) + 1, false) FROM public.messages),
    (SELECT setval(pg_get_serial_sequence('public.atoms', 'id'), coalesce(max(id), 0) + 1, false) FROM public.atoms)
FROM public.users

-- name: analyze
-- Statistics of what was just copied in.
ANALYZE public.users, public.sources, public.topics, public.messages, public.atoms, public.topic_atoms, public.atom_links

-- name: any_row
-- Whether a table holds anything.
SELECT 1 AS one FROM {table} LIMIT 1

-- name: existing_tables
-- Tables of the legacy schema that this database already has. Reads the catalog only.
SELECT relname AS name FROM pg_class
WHERE relnamespace = 'public'::regnamespace
  AND relname IN ('users', 'sources', 'telegram_profiles', 'messages', 'topics', 'atoms', 'topic_atoms', 'atom_links')

-- name: traffic_archived
-- Which of these runs are in the archive, and which proposals are there with them. Uses the primary key.
SELECT id FROM public.knowledge_extraction_archive WHERE id = ANY (%(ids)s)
UNION ALL
SELECT (proposal.value ->> 'id')::uuid
FROM public.knowledge_extraction_archive AS archive
CROSS JOIN LATERAL jsonb_array_elements(archive.topic_proposals || archive.atom_proposals) AS proposal
WHERE archive.id = ANY (%(ids)s)

-- name: traffic_ids
-- Messages and users that the traffic extracts from and for: a spread of them, not all. Uses the primary key.
SELECT id FROM {table} ORDER BY id LIMIT 5000

-- name: traffic_rows
-- Rows of one table as JSON. Uses the primary key.
SELECT id, to_jsonb(source) AS row FROM {table} AS source WHERE id = ANY (%(ids)s)

-- name: traffic_runs
-- Which of these runs exist and are completed. Uses the primary key.
SELECT id FROM public.knowledge_extraction_runs WHERE id = ANY (%(ids)s) AND status = 'completed'

-- name: traffic_present
-- Which of these rows exist. Uses the primary key.
SELECT id FROM {table} WHERE id = ANY (%(ids)s)

-- name: traffic_rolled_back
-- Whether a rollback since some moment has removed proposals; a rollback that has begun and was interrupted has removed some.
-- Reads the audit log of that time.
SELECT EXISTS (
    SELECT FROM migration.audit_log
    WHERE at >= %(since)s AND action ~ '^rollback (dual write|backfill|schema|full)( begun)?$'
) AS rolled_back
