"""Tests of `engine/validation/performance`."""
