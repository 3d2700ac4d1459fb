-- Strategy §9.3, query 2: the latest runs with the number of their topic proposals (ERRATA V3). The counts are of these runs
-- only: joined and grouped first, every proposal of the database would be read for one page. idx_knowledge_runs_created, then
-- idx_topic_proposals_run_created once a run, ACCESS SHARE.
SELECT latest.*, counted.proposal_count
FROM (SELECT * FROM public.knowledge_extraction_runs ORDER BY created_at DESC, id DESC LIMIT 20) AS latest
CROSS JOIN LATERAL (
    SELECT count(*) AS proposal_count FROM public.topic_proposals WHERE extraction_run_id = latest.id
) AS counted
ORDER BY latest.created_at DESC, latest.id DESC
