-- name: captured_totals
-- Rows that the capture has linked, and statements that it could not capture and no sweep has completed since. One scan of our
-- own table.
SELECT coalesce(sum(linked_rows), 0)::bigint AS linked_rows,
       count(*) FILTER (WHERE sqlstate IS NOT NULL AND swept_at IS NULL) AS failures
FROM migration.capture_log

-- name: moment
-- The start of a watch: the next transaction id, the time, and the last id of each table. Two index lookups.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS transaction, clock_timestamp() AS at,
       (SELECT coalesce(max(id), 0) FROM public.topics) AS topics,
       (SELECT coalesce(max(id), 0) FROM public.atoms) AS atoms

-- name: probe_atom
-- A new atom, in a transaction that is rolled back.
INSERT INTO public.atoms (type, title, content, user_approved)
VALUES ('probe', 'knowledge_migration probe', 'Written by a probe and rolled back.', false)
RETURNING id

-- name: probe_read
-- Whether the atom of the probe has a proposal of its values, which names its topic.
SELECT count(*) AS captured
FROM public.atoms AS atom
JOIN public.atom_proposals AS proposal ON proposal.id = atom.migrated_from_proposal_id
JOIN public.topics AS topic ON topic.id = %(topic)s AND topic.migrated_from_proposal_id IS NOT NULL
WHERE atom.id = %(atom)s
  AND (proposal.title, proposal.content, proposal.confidence) IS NOT DISTINCT FROM (atom.title, atom.content, atom.confidence)
  AND proposal.proposed_topic_ids = jsonb_build_array(topic.id)

-- name: probe_relate
-- Their relation, after both, as applications write it.
INSERT INTO public.topic_atoms (topic_id, atom_id) VALUES (%(topic)s, %(atom)s)

-- name: probe_topic
-- A new topic, in a transaction that is rolled back.
INSERT INTO public.topics (name, description)
VALUES ('knowledge_migration probe ' || gen_random_uuid(), 'Written by a probe and rolled back.')
RETURNING id

-- name: sessions
-- The sessions of this database that are not ours, by application, role and client, those that write topics or atoms now first.
-- Only a role with pg_read_all_stats sees the client of another role's session. Reads pg_stat_activity and pg_locks.
SELECT DISTINCT
    coalesce(nullif(activity.application_name, ''), 'unnamed application') AS application,
    activity.usename AS role,
    coalesce(activity.client_addr::text, 'this host, or an address that is not visible') AS client,
    held.pid IS NOT NULL AS writes
FROM pg_stat_activity AS activity
LEFT JOIN pg_locks AS held
    ON held.pid = activity.pid AND held.mode = 'RowExclusiveLock' AND held.granted
   AND held.relation IN (
       'public.topics'::regclass, 'public.atoms'::regclass, 'public.topic_atoms'::regclass, 'public.atom_links'::regclass
   )
WHERE activity.datname = current_database()
  AND activity.backend_type = 'client backend'
  AND activity.pid <> pg_backend_pid()
  AND NOT starts_with(activity.application_name, 'knowledge_migration ')
  AND activity.application_name NOT IN ('knowledge service', 'knowledge flags')

-- name: uncaptured
-- Rows without a proposal whose version is of a transaction since the start of a watch; with `new_only`, those that were inserted
-- since. One scan.
SELECT count(*) AS rows
FROM {table} AS source
WHERE source.migrated_from_proposal_id IS NULL
  AND age(source.xmin) BETWEEN 0 AND age(%(transaction)s::text::xid8::xid)
  AND (NOT %(new_only)s OR source.id > %(last_id)s OR source.created_at >= %(at)s)
