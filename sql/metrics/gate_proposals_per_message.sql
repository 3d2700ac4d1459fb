-- Proposals made of a message, extraction by extraction: how many extractions, mean and variance, by mode. Uses the index on
-- created_at of the runs; the backfill's run has a mode of its own.
SELECT settings ->> 'mode' AS mode, count(*) AS sample, avg(made) AS mean, coalesce(var_samp(made), 0) AS variance
FROM (
    SELECT settings,
           ((settings ->> 'topic_proposals')::double precision + (settings ->> 'atom_proposals')::double precision)
           / message_count AS made
    FROM public.knowledge_extraction_runs
    WHERE created_at > %(since)s AND created_at <= %(until)s AND status = 'completed' AND message_count > 0
      AND settings ->> 'mode' IN ('dual_write', 'proposal') AND settings ->> 'extractor' <> 'by hand'
) AS extraction
GROUP BY 1
