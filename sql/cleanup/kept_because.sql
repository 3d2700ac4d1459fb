-- Why a run has to stay, or NULL when it may be archived; part of the statements that choose and that move, so that both mean
-- the same. Looks everything up by index: proposals by run, rows by link.
CASE
    WHEN run.id = migration.origin_proposal_id('knowledge_extraction_runs', 0) THEN 'the run of the backfill'
    WHEN run.status NOT IN ('completed', 'failed') THEN 'not over'
    WHEN run.id = ANY (%(referred)s::uuid[]) THEN 'another run refers to its proposals'
    WHEN EXISTS (SELECT FROM migration.shadow_failure AS failure
                 WHERE failure.extraction_run_id = run.id AND failure.repaired_at IS NULL)
        THEN 'a failed shadow of it is not repaired'
    WHEN EXISTS (SELECT FROM public.topic_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.status IN ('pending', 'parked'))
      OR EXISTS (SELECT FROM public.atom_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.status IN ('pending', 'parked'))
        THEN 'a proposal of it waits'
    WHEN EXISTS (SELECT FROM public.topic_proposals AS proposal
                 JOIN public.topics AS row ON row.migrated_from_proposal_id = proposal.id
                 WHERE proposal.extraction_run_id = run.id)
      OR EXISTS (SELECT FROM public.atom_proposals AS proposal
                 JOIN public.atoms AS row ON row.migrated_from_proposal_id = proposal.id
                 WHERE proposal.extraction_run_id = run.id)
        THEN 'a row came from it'
    -- an approval that matched a row, or a merge: the undo of that row's own approval asks for these before it removes the row
    WHEN EXISTS (SELECT FROM public.topic_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.similar_topic_id IS NOT NULL
                   AND proposal.status IN ('approved', 'auto_approved', 'merged'))
      OR EXISTS (SELECT FROM public.atom_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.similar_atom_id IS NOT NULL
                   AND proposal.status IN ('approved', 'auto_approved', 'merged'))
        THEN 'a proposal of it stands for a row'
END
