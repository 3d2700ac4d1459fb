"""Phase 1: the schema steps, how they run on a live database, and the way back (strategy §3)."""
