-- Topics that no atom belongs to. Uses the primary key of topic_atoms, which begins with topic_id.
-- ACCESS SHARE on topics and topic_atoms: reads and writes go on.
SELECT topics.id, left(topics.name, 100) AS name
FROM public.topics
WHERE NOT EXISTS (SELECT FROM public.topic_atoms WHERE topic_atoms.topic_id = topics.id)
