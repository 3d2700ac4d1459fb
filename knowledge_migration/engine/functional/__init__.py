"""Validation of a live service through its API (strategy §9.2, §9.3): what it makes is marked, and removed again."""
