"""Tests of phase 5 on real servers."""
