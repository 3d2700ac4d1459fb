"""What every part of the engine stands on; it imports nothing else of the engine."""
