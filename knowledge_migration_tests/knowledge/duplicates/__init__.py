"""Tests of the search for similar topics and atoms, on real PostgreSQL and real names."""
