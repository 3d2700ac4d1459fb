-- The next single row that a batch would take, locked: to tell exactly which row it is that cannot become a proposal.
SELECT source.id
FROM {table} AS source
WHERE {pending}
ORDER BY source.id
LIMIT 1
FOR NO KEY UPDATE OF source {skip_locked}
