-- SHARE UPDATE EXCLUSIVE on topic_proposals, ROW SHARE on topics: reads and writes go on while it scans.
ALTER TABLE public.topic_proposals VALIDATE CONSTRAINT topic_proposals_similar_topic_id_fkey;
