-- Whether a way back since some moment has taken proposals away on purpose; one that has begun and was interrupted has taken
-- some. Reads the audit log of that time.
SELECT EXISTS (
    SELECT FROM migration.audit_log
    WHERE at >= %(since)s AND action ~ '^rollback (dual write|backfill|schema|full)( begun)?$'
) AS taken
