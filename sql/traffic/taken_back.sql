-- Whether a way back since some moment has taken proposals away on purpose. Reads the audit log of that time.
SELECT EXISTS (
    SELECT FROM migration.audit_log
    WHERE at >= %(since)s AND action IN ('rollback dual write', 'rollback backfill', 'rollback schema')
) AS taken
