-- SHARE ROW EXCLUSIVE on knowledge_extraction_runs and users: readers go on, writers wait for the catalog change only (NOT VALID: no scan).
ALTER TABLE public.knowledge_extraction_runs
    ADD CONSTRAINT knowledge_extraction_runs_created_by_user_id_fkey FOREIGN KEY (created_by_user_id)
    REFERENCES public.users (id) ON DELETE SET NULL NOT VALID;
