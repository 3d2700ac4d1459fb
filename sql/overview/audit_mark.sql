-- What tells whether entries were added to the audit log, also late ones of a transaction that was open for some time: the sum
-- of its newest keys. By the primary key.
SELECT coalesce(sum(newest.id), 0)::bigint AS mark
FROM (SELECT one.id FROM migration.audit_log AS one ORDER BY one.id DESC LIMIT 200) AS newest
