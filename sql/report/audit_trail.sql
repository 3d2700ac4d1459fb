-- What was done to the migration, by whom and why, newest first, and how much there is in all; single proposals are summed up
-- elsewhere.
SELECT entry.at, entry.actor, entry.action, entry.subject, entry.reason, entry.dagster_run_id, count(*) OVER () AS entries
FROM migration.audit_log AS entry
WHERE entry.action NOT LIKE '%% proposal'
ORDER BY entry.id DESC
LIMIT %(limit)s
