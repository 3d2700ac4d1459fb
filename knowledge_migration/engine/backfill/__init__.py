"""Phase 3, the backfill: plan, batches, completion, dry run, quarantine, and the way back (strategy §5)."""
