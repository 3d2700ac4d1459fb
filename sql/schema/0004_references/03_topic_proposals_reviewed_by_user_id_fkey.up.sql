-- SHARE ROW EXCLUSIVE on topic_proposals and users: readers go on, writers wait for the catalog change only (NOT VALID: no scan).
ALTER TABLE public.topic_proposals
    ADD CONSTRAINT topic_proposals_reviewed_by_user_id_fkey FOREIGN KEY (reviewed_by_user_id)
    REFERENCES public.users (id) ON DELETE SET NULL NOT VALID;
