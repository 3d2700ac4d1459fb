-- Links to missing proposals. A validated foreign key prevents them; this finds them if it is missing or was disabled.
SELECT source.id, left(source.{label}, 80) AS label, source.migrated_from_proposal_id
FROM {table} AS source
LEFT JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
WHERE source.migrated_from_proposal_id IS NOT NULL
  AND proposal.id IS NULL
