-- Waits until everything this session has committed is on disk. A commit that wrote nothing never waits, whatever
-- synchronous_commit says, so this writes a message to the WAL that nobody reads. Locks nothing.
SELECT pg_logical_emit_message(true, 'knowledge_migration', 'partition done')
