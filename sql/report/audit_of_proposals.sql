-- Decisions about proposals, by day, kind and person.
SELECT
    (entry.at AT TIME ZONE 'UTC')::date AS day, entry.action, entry.actor, count(*) AS proposals, min(entry.at) AS first,
    max(entry.at) AS last
FROM migration.audit_log AS entry
WHERE entry.action LIKE '% proposal'
GROUP BY day, entry.action, entry.actor
ORDER BY last DESC
LIMIT 500
