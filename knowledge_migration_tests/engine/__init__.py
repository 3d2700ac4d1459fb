"""Tests of the engine, against real servers. What needs Dagster or the application belongs elsewhere."""
