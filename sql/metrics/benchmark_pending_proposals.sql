-- Strategy §9.3, query 1: the first page of the review queue; its ties in a defined order. Walks
-- idx_topic_proposals_status_confidence, ACCESS SHARE.
SELECT * FROM public.topic_proposals WHERE status = 'pending' ORDER BY confidence DESC, id LIMIT 50
