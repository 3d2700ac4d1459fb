"""Tests of `engine/validation`."""
