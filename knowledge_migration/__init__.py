"""Moves a live PostgreSQL application from direct writes to a proposal workflow, and proves it.

`defs` is what Dagster shows, `engine` the migration itself, `knowledge` the application side (it knows nothing of the
migration), `demonstration` the knowledge base that the main job migrates when no database is named.
"""
