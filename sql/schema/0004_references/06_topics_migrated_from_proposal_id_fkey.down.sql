-- ACCESS EXCLUSIVE on topics and topic_proposals for a catalog change only.
ALTER TABLE public.topics DROP CONSTRAINT topics_migrated_from_proposal_id_fkey;
