-- Entries of the audit log older than a key, newest first; decisions about single proposals only if wanted. By the primary key,
-- through so many entries at most: a way back may have written thousands of decisions on top of what somebody looks for.
SELECT
    entry.id, entry.at, entry.actor, entry.action, entry.subject, entry.reason, entry.before, entry.after, entry.dagster_run_id
FROM (
    SELECT one.* FROM migration.audit_log AS one
    WHERE one.id < coalesce(%(older_than)s::bigint, 9223372036854775807)
    ORDER BY one.id DESC
    LIMIT %(looked_through)s
) AS entry
WHERE %(with_decisions)s OR entry.action NOT LIKE '%% proposal'
ORDER BY entry.id DESC
LIMIT %(limit)s
