"""After an accident in phase 3: how far the backfill is, and the ledger made true again (strategy §10.4)."""
