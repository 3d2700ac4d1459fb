-- SHARE ROW EXCLUSIVE on topic_proposals and topics: readers go on, writers wait for the catalog change only (NOT VALID: no scan).
ALTER TABLE public.topic_proposals
    ADD CONSTRAINT topic_proposals_similar_topic_id_fkey FOREIGN KEY (similar_topic_id)
    REFERENCES public.topics (id) ON DELETE SET NULL NOT VALID;
