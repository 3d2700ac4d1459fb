-- ACCESS EXCLUSIVE on topic_proposals for a catalog change only.
ALTER TABLE public.topic_proposals DROP COLUMN entity_id, DROP COLUMN message_ids;
