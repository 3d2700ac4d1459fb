-- Strategy appendix C: proposals that have waited for review for more than a day, the surest first.
SELECT * FROM (
    (SELECT 'topic' AS entity, topic.id, topic.name AS title, topic.confidence, topic.created_at
     FROM public.topic_proposals AS topic
     WHERE topic.status = 'pending' AND topic.created_at < now() - interval '24 hours'
     ORDER BY topic.confidence DESC, topic.id LIMIT 20)
    UNION ALL
    (SELECT 'atom', atom.id, atom.title, atom.confidence, atom.created_at
     FROM public.atom_proposals AS atom
     WHERE atom.status = 'pending' AND atom.created_at < now() - interval '24 hours'
     ORDER BY atom.confidence DESC, atom.id LIMIT 20)
) AS waiting
ORDER BY waiting.confidence DESC, waiting.id
LIMIT 20
