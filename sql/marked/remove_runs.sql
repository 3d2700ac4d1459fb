-- These runs, but for those that still have a proposal.
DELETE FROM public.knowledge_extraction_runs AS run
WHERE run.id = ANY (%(run_ids)s)
  AND NOT EXISTS (SELECT FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id)
  AND NOT EXISTS (SELECT FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id)
