-- Ways back, promotions, overrides and acts of the guard after an entry of the audit log, but for those told already, oldest
-- first. Reads from that entry on by the primary key.
SELECT id, at, actor, action, subject, reason
FROM migration.audit_log
WHERE id > %(after)s AND action ~ '^(rollback|promote|override|guard) ' AND NOT id = ANY (%(told)s)
ORDER BY id
LIMIT %(most)s
