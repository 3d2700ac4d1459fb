-- The right to do one piece of work in this database, for this session. Locks nothing of the user's.
SELECT CASE
    WHEN %(shared)s THEN pg_try_advisory_lock_shared(hashtextextended('knowledge_migration:' || %(work)s, 0))
    ELSE pg_try_advisory_lock(hashtextextended('knowledge_migration:' || %(work)s, 0))
END AS acquired
