-- Rows set aside, oldest first; all of a state, or all.
SELECT entity, row_id, state, policy, sqlstate, reason, found_at, decided_by, decided_at, note
FROM migration.quarantine
WHERE %(state)s::text IS NULL OR state = %(state)s
ORDER BY entity, row_id
