-- The newest entry of the audit log that is older than so many seconds: a transaction that has yet to commit an earlier one
-- would be as old. From the end of the primary key; none in an empty log.
SELECT id
FROM migration.audit_log
WHERE at < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY id DESC
LIMIT 1
