"""Tests of `engine/status`."""
