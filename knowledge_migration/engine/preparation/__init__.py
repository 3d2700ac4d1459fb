"""Phase 0: what is known of the database before anything changes (strategy §2). Reads the user's tables only."""
