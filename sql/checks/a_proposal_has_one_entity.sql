-- Proposals that more than one row names as its origin. The unique index prevents them; this finds them without it.
SELECT source.migrated_from_proposal_id AS proposal_id, count(*) AS rows, min(source.id) AS first_id, max(source.id) AS last_id
FROM {table} AS source
WHERE source.migrated_from_proposal_id IS NOT NULL
GROUP BY source.migrated_from_proposal_id
HAVING count(*) > 1
