"""Phase 3, the backfill: plan, dry run, batches, completion, quarantine (strategy §5)."""
