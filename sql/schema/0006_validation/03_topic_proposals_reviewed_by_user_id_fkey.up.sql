-- SHARE UPDATE EXCLUSIVE on topic_proposals, ROW SHARE on users: reads and writes go on while it scans.
ALTER TABLE public.topic_proposals VALIDATE CONSTRAINT topic_proposals_reviewed_by_user_id_fkey;
