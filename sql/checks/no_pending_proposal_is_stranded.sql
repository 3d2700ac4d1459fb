-- Pending proposals of proposal mode while proposals are off: they are neither replayed nor parked, so their knowledge would be
-- lost. Applies after a rollback of flags. A proposal whose decision was undone waits for a person and is not stranded. Uses the
-- index on status.
SELECT proposal.id, left(proposal.{label}, 80) AS label, proposal.confidence, proposal.created_at
FROM {proposals} AS proposal
JOIN public.knowledge_extraction_runs AS run ON run.id = proposal.extraction_run_id
WHERE proposal.status = 'pending' AND run.settings ->> 'mode' = 'proposal'
  AND proposal.review_action IS DISTINCT FROM 'undo'
  AND NOT EXISTS (SELECT FROM public.feature_flags WHERE name = 'knowledge_proposals' AND enabled)
