-- Gives back the right that advisory_lock.sql took.
SELECT CASE
    WHEN %(shared)s THEN pg_advisory_unlock_shared(hashtextextended('knowledge_migration:' || %(work)s, 0))
    ELSE pg_advisory_unlock(hashtextextended('knowledge_migration:' || %(work)s, 0))
END
