-- SHARE UPDATE EXCLUSIVE on topics, ROW SHARE on topic_proposals: reads and writes go on while it scans.
ALTER TABLE public.topics VALIDATE CONSTRAINT topics_migrated_from_proposal_id_fkey;
