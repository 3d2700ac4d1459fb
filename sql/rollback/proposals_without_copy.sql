-- Proposals that exist nowhere else: all but the backfilled images of rows. Two scans.
SELECT 'topic_proposals' AS proposals, count(*) AS rows
FROM public.topic_proposals
WHERE review_action IS DISTINCT FROM 'auto_approve_migration'
UNION ALL
SELECT 'atom_proposals', count(*)
FROM public.atom_proposals
WHERE review_action IS DISTINCT FROM 'auto_approve_migration'
