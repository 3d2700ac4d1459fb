-- The newest entry of the audit log. Primary key.
SELECT coalesce(max(id), 0) AS id FROM migration.audit_log
