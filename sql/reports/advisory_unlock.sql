-- Gives back the right that advisory_lock.sql took.
SELECT pg_advisory_unlock(hashtextextended('knowledge_migration:' || %(work)s, 0))
