-- ACCESS EXCLUSIVE on topic_proposals and users for a catalog change only.
ALTER TABLE public.topic_proposals DROP CONSTRAINT topic_proposals_reviewed_by_user_id_fkey;
