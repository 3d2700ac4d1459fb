"""A database after phase 1 with people and messages, and a service that works on it."""

from knowledge_migration_tests.engine.dual_write.conftest import BRIEF, PATIENT, peopled, rows, service

__all__ = ["BRIEF", "PATIENT", "peopled", "rows", "service"]
