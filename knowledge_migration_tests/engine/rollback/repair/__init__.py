"""Tests of `engine/rollback/repair`."""
