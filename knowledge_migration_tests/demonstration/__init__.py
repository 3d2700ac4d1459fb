"""The demonstration's knowledge bases and their loader."""
