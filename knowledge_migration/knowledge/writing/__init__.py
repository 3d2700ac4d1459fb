"""Writes an extraction in one transaction: its run, the direct result, the proposals beside it or instead of it."""
