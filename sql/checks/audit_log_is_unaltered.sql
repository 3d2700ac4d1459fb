-- Stretches of the audit log whose entries are not those that were sealed, and seals that do not follow each other: somebody
-- altered or removed entries, or their seals. Reads the audit log up to the last seal once, by its primary key.
SELECT seal.recorded_at AS sealed_at, seal.above_id, seal.through_id, seal.entries
FROM (
    SELECT
        id,
        recorded_at,
        (content ->> 'above_id')::bigint AS above_id,
        (content ->> 'through_id')::bigint AS through_id,
        (content ->> 'entries')::bigint AS entries,
        content ->> 'previous' AS previous,
        content ->> 'hash' AS hash,
        lag(content ->> 'hash', 1, '') OVER (ORDER BY id) AS before
    FROM migration.evidence
    WHERE kind = 'audit_seal' AND database = migration.this_database()
) AS seal
WHERE seal.previous <> seal.before
   OR seal.hash <> migration.audit_chain(seal.previous, seal.above_id, seal.through_id)
