"""Phase 0: facts about the database before any change (strategy §2). Reads the user's tables only."""
