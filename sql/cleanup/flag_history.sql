-- Every change of the flags and every rollback that the audit log knows, in order; rehearsals are none. One scan of a table
-- of our own.
SELECT at, actor, action, subject, reason, after
FROM migration.audit_log
WHERE (subject = %(flags)s AND action = 'set flags')
   OR (action ILIKE '%%rollback%%' AND action NOT ILIKE '%%drill%%' AND action NOT ILIKE '%%rehears%%')
ORDER BY id
