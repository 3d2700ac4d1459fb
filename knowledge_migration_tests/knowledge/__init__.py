"""Tests of the application side, on real PostgreSQL."""
