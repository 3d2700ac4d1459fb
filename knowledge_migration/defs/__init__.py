"""What Dagster shows: thin shells over `engine`, one module a phase. No rule about the data is decided here."""
