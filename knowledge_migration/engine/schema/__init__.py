"""Phase 1: the schema steps, and how they run on a live database (strategy §3)."""
