-- The newest measurement of a kind. Relies on evidence_by_kind.
SELECT recorded_at, content FROM migration.evidence WHERE kind = %(kind)s ORDER BY id DESC LIMIT 1
