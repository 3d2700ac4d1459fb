-- How many shadows there are in one table, and how many proposals of dual-written extractions wait for review: those exist
-- nowhere else. Uses the index on (status, confidence).
SELECT
    count(*) FILTER (WHERE proposal.review_action = 'dual_write' AND proposal.status <> 'pending') AS shadows,
    count(*) FILTER (WHERE proposal.status = 'pending' AND run.settings ->> 'mode' = 'dual_write') AS pending
FROM {proposals} AS proposal
JOIN public.knowledge_extraction_runs AS run ON run.id = proposal.extraction_run_id
WHERE proposal.status IN ('pending', 'approved', 'auto_approved')
