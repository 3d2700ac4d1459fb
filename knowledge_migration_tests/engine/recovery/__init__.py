"""Repairs of the migration after an accident, with real processes and real damage."""
