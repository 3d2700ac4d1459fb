"""Tests of phase 2."""
