-- Strategy §9.3, query 3: proposals that resemble an existing topic, the most similar first (ERRATA V9: without an order,
-- LIMIT returns any ten). ACCESS SHARE.
SELECT *
FROM public.topic_proposals
WHERE status = 'pending' AND similar_topic_id IS NOT NULL AND similarity_score > %(flagged)s
ORDER BY similarity_score DESC, id
LIMIT 10
