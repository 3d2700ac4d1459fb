"""Tests of `engine/observability`."""
