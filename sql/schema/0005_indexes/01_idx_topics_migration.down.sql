-- Outside a transaction: reads and writes go on.
DROP INDEX CONCURRENTLY public.idx_topics_migration;
