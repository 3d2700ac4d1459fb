-- Whether somebody overrode the required stability of the full cutover that began at that moment. Uses audit_log_by_subject.
SELECT EXISTS (
    SELECT FROM migration.audit_log WHERE subject = %(subject)s AND action = 'override stability' AND at >= %(since)s
) AS overridden
