-- The right to do one piece of work in this database, for this session. Locks nothing of the user's.
SELECT pg_try_advisory_lock(hashtextextended('knowledge_migration:' || %(work)s, 0)) AS acquired
