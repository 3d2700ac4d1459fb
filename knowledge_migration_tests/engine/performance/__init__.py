"""Tests of the performance validation and of the comparison with the baseline."""
