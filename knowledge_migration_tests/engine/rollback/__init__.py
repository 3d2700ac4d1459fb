"""Tests of `engine/rollback`."""
