"""Tests of the cutover."""
