-- Proposals whose extraction run is missing (strategy §9.1 check 4, §11.1).
SELECT proposal.id, left(proposal.{label}, 80) AS label, proposal.extraction_run_id
FROM {proposals} AS proposal
LEFT JOIN public.knowledge_extraction_runs AS run ON run.id = proposal.extraction_run_id
WHERE run.id IS NULL
