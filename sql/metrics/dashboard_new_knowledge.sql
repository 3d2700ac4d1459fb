-- Strategy §4.2: how many topics and atoms the last hour brought, beside the proposals of that hour. Of the newest 20,000 ids of
-- each table, walked backwards: nobody has to have an index on created_at.
SELECT 'topic' AS label, count(*) AS created
FROM (SELECT topic.created_at FROM public.topics AS topic ORDER BY topic.id DESC LIMIT 20000) AS newest
WHERE newest.created_at > now() - interval '1 hour'
UNION ALL
SELECT 'atom', count(*)
FROM (SELECT atom.created_at FROM public.atoms AS atom ORDER BY atom.id DESC LIMIT 20000) AS newest
WHERE newest.created_at > now() - interval '1 hour'
