-- SHARE ROW EXCLUSIVE on topics and topic_proposals: readers go on, writers wait for the catalog change only (NOT VALID: no scan).
ALTER TABLE public.topics
    ADD CONSTRAINT topics_migrated_from_proposal_id_fkey FOREIGN KEY (migrated_from_proposal_id)
    REFERENCES public.topic_proposals (id) NOT VALID;
