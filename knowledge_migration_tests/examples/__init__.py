"""Tests of the applications in `examples/`: what an application meets that is migrated."""
