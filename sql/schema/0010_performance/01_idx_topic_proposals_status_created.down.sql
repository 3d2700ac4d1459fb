-- Outside a transaction: reads and writes go on.
DROP INDEX CONCURRENTLY public.idx_topic_proposals_status_created;
