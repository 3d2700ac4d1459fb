-- Rows in quarantine on which nobody has decided yet; a row that a user has deleted needs no decision.
SELECT held.entity, held.row_id, held.state, held.sqlstate, held.reason, held.found_at
FROM migration.quarantine AS held
WHERE held.state IN ('open', 'retry')
  AND (
      EXISTS (SELECT FROM public.topics WHERE held.entity = 'topic' AND topics.id = held.row_id)
      OR EXISTS (SELECT FROM public.atoms WHERE held.entity = 'atom' AND atoms.id = held.row_id)
  )
