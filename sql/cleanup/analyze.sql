-- Fresh statistics for the planner, of what the migration has written. SHARE UPDATE EXCLUSIVE, one table at a time.
ANALYZE public.topics, public.atoms, public.topic_atoms, public.atom_links, public.messages,
    public.topic_proposals, public.atom_proposals, public.knowledge_extraction_runs
