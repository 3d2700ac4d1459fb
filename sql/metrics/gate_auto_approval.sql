-- Proposals that extractions in proposal mode made in a window, and how many of them needed no reviewer. Backfilled and
-- dual-written ones are of other runs. Uses the indexes on created_at of the proposals.
SELECT count(*) AS sample, count(*) FILTER (WHERE made.review_action = 'auto_approve') AS hits
FROM (
    SELECT extraction_run_id, review_action FROM public.topic_proposals WHERE created_at > %(since)s AND created_at <= %(until)s
    UNION ALL
    SELECT extraction_run_id, review_action FROM public.atom_proposals WHERE created_at > %(since)s AND created_at <= %(until)s
) AS made
JOIN public.knowledge_extraction_runs AS run ON run.id = made.extraction_run_id
WHERE run.settings ->> 'mode' = 'proposal'
