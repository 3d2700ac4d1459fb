-- Writes one entry of the audit log, in the transaction of what it speaks of.
INSERT INTO migration.audit_log (actor, action, subject, before, after, reason, dagster_run_id)
VALUES (%(actor)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(reason)s, %(dagster_run_id)s)
