-- Fresh statistics right after the backfill, not two weeks later. SHARE UPDATE EXCLUSIVE: reads and writes go on.
ANALYZE public.topics, public.atoms, public.topic_proposals, public.atom_proposals, public.knowledge_extraction_runs
