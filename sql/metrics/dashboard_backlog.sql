-- Strategy §6.4: proposals that wait for review, of these for more than an hour and for more than a day, and for how long the
-- oldest does. Through the indexes on status and creation.
SELECT
    waiting.entity AS label, count(*) AS pending,
    count(*) FILTER (WHERE waiting.created_at < now() - interval '1 hour') AS over_an_hour,
    count(*) FILTER (WHERE waiting.created_at < now() - interval '24 hours') AS over_a_day,
    coalesce(extract(epoch FROM now() - min(waiting.created_at))::double precision, 0) AS oldest_seconds
FROM (
    SELECT 'topic' AS entity, topic.created_at FROM public.topic_proposals AS topic WHERE topic.status = 'pending'
    UNION ALL
    SELECT 'atom', atom.created_at FROM public.atom_proposals AS atom WHERE atom.status = 'pending'
) AS waiting
GROUP BY waiting.entity
ORDER BY label
