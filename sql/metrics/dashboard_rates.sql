-- Strategy §6.4 and §4.2: extractions of the last hour by mode and how they ended, with the proposals that they made. Through
-- idx_knowledge_runs_created; the backfill's run has a mode of its own.
SELECT
    concat_ws('/', run.settings ->> 'mode', run.status) AS label, count(*) AS extractions,
    coalesce(sum((run.settings ->> 'topic_proposals')::int + (run.settings ->> 'atom_proposals')::int), 0)::bigint AS proposals
FROM public.knowledge_extraction_runs AS run
WHERE run.created_at > now() - interval '1 hour' AND run.settings ->> 'mode' IN ('direct', 'dual_write', 'proposal')
GROUP BY run.settings ->> 'mode', run.status
ORDER BY label
