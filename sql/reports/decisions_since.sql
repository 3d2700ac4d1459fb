-- Ways back, promotions, overrides and acts of the guard after an entry of the audit log, oldest first. Primary key.
SELECT id, at, actor, action, subject, reason
FROM migration.audit_log
WHERE id > %(after)s AND action ~ '^(rollback|promote|override|guard) ' AND action !~ ' begun$'
ORDER BY id
LIMIT 100
