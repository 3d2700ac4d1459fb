"""The knowledge base that is migrated when the user names no database, and the loader that fills a legacy schema."""
