-- What an approval needs to know beyond the proposed values: the messages a topic was found in, and afterwards the row it
-- became. entity_id is no reference: a row that a user deletes later leaves its number, so that this can be told from a
-- row that was never made. ACCESS EXCLUSIVE on topic_proposals for a catalog change only (NULL allowed, no default).
ALTER TABLE public.topic_proposals ADD COLUMN entity_id bigint, ADD COLUMN message_ids jsonb;
