"""A database after phase 1 with people and messages, as the tests of dual write have it."""

from knowledge_migration_tests.engine.dual_write.conftest import BRIEF, PATIENT, peopled, rows

__all__ = ["BRIEF", "PATIENT", "peopled", "rows"]
