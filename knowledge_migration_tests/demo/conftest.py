"""The database of the engine's tests with people and messages, and the documentation of this Python, read once."""

import pytest

from knowledge_migration.demo.python_documentation import PythonDocumentation
from knowledge_migration_tests.engine.conftest import peopled

__all__ = ["peopled"]


@pytest.fixture(scope="session")
def documentation() -> PythonDocumentation:
    """The rows of the whole documentation: reading it takes 4 s of CPU time."""
    return PythonDocumentation()
