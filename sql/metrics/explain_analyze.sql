-- Executes a query of the application and tells how; only ever a SELECT, in a session that is read-only. VERBOSE names the
-- schema of each table.
EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON) {query}
