"""Tests against real PostgreSQL servers, 18 and 16; the layout mirrors the package."""
