"""Tests of the live traffic."""
