-- The latest word of a person about each criterion.
SELECT DISTINCT ON (kept.content ->> 'criterion') kept.content ->> 'criterion' AS criterion, kept.recorded_at, kept.content
FROM migration.evidence AS kept
WHERE kept.kind = 'confirmation'
ORDER BY kept.content ->> 'criterion', kept.id DESC
