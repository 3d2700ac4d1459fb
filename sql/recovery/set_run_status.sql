-- Makes the migration's run say what the rows tell; not if it has changed since it was looked at.
UPDATE public.knowledge_extraction_runs
SET status = %(after)s::text,
    completed_at = CASE WHEN %(after)s::text = 'completed' THEN completed_at END,
    error_message = NULL
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0) AND status = coalesce(%(before)s::text, status)
