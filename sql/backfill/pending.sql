-- Which rows of an id range wait for their proposal: unlinked, and not set aside. Part of the statements that take or
-- count them, so that all mean the same rows. NOT IN is a hashed lookup here: row_id is never NULL; the range keeps it small
-- where much is set aside (relies on quarantine_by_state).
source.id > %(after)s
AND source.id <= %(through)s
AND source.migrated_from_proposal_id IS NULL
AND source.id NOT IN (
    SELECT held.row_id FROM migration.quarantine AS held
    WHERE held.entity = %(entity)s
      AND held.state IN ('open', 'accepted')
      AND held.row_id > %(after)s
      AND held.row_id <= %(through)s
)
