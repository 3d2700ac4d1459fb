-- The last entry that audit_entries.sql looks through; none where it comes to the end of the log. By the primary key.
SELECT one.id FROM migration.audit_log AS one
WHERE one.id < coalesce(%(older_than)s::bigint, 9223372036854775807)
ORDER BY one.id DESC
OFFSET %(looked_through)s - 1
LIMIT 1
