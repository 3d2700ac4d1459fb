-- SHARE UPDATE EXCLUSIVE on knowledge_extraction_runs, ROW SHARE on users: reads and writes go on while it scans.
ALTER TABLE public.knowledge_extraction_runs VALIDATE CONSTRAINT knowledge_extraction_runs_created_by_user_id_fkey;
