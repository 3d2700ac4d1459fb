-- The definition of an index that phase 5 has dropped, from the audit log; the latest one.
SELECT before ->> 'definition' AS definition, before ->> 'table' AS table
FROM migration.audit_log
WHERE subject = %(subject)s AND action = 'drop index'
ORDER BY id DESC
LIMIT 1
