-- ACCESS EXCLUSIVE on knowledge_extraction_runs and users for a catalog change only.
ALTER TABLE public.knowledge_extraction_runs DROP CONSTRAINT knowledge_extraction_runs_created_by_user_id_fkey;
