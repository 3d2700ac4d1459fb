"""The migration itself: plain functions and frozen dataclasses over PostgreSQL. Nothing here imports Dagster."""
