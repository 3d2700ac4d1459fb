"""Tests of `engine/foundation`."""
