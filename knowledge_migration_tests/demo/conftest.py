"""The database of the engine's tests with people and messages."""

from knowledge_migration_tests.engine.conftest import peopled

__all__ = ["peopled"]
