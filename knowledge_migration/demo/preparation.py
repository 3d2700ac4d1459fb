"""Builds the demonstration database once: the legacy schema with the documentation of this Python in it."""

from collections.abc import Callable

from knowledge_migration.demo.loader import build_legacy_schema, load
from knowledge_migration.demo.python_documentation import PythonDocumentation
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.sql_files import text_of


def prepare_demonstration(database: Database, progress: Callable[[str, int], None]) -> dict[str, int] | None:
    """The rows stored by table; None when the demonstration is there already. A half-made one is finished."""
    with database.connect("demonstration") as connection:
        tables = connection.execute(text_of("demo/existing_tables")).fetchall()
        filled = bool(tables) and connection.execute(text_of("demo/demonstration_is_filled")).fetchone() is not None
    if filled:
        return None
    if not tables:
        build_legacy_schema(database)
    return load(database, PythonDocumentation(), progress=progress).rows
