"""What every phase needs; it imports nothing else of the engine."""
