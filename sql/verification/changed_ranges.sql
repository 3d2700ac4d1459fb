-- The key ranges in which a row, or the proposal it is linked to, was written by a transaction that had not ended at an earlier
-- horizon. Reads both tables once, without their long values and without comparing anything.
SELECT DISTINCT source.id >> %(shift)s AS key_range
FROM {table} AS source
WHERE source.migrated_from_proposal_id IS NOT NULL
  AND (
      age(source.xmin) <= age(%(horizon)s::text::xid8::xid)
      OR source.migrated_from_proposal_id IN (
          SELECT proposal.id FROM {proposals} AS proposal WHERE age(proposal.xmin) <= age(%(horizon)s::text::xid8::xid)
      )
  )
ORDER BY key_range
