-- ACCESS EXCLUSIVE on topic_proposals and topics for a catalog change only.
ALTER TABLE public.topic_proposals DROP CONSTRAINT topic_proposals_similar_topic_id_fkey;
