"""Tests of the drill and the rehearsal."""
