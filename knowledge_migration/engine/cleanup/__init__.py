"""Phase 5: the old paths are retired, completeness becomes a fact of the database, old extractions and indexes go."""
