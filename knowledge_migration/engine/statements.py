"""Loads the SQL files of the project: the only place from which a statement reaches the user's database.

Values are named parameters (`%(low)s`) and stay parameters; names of tables and columns stand in braces (`{table}`)
and are composed as identifiers by psycopg. A file is one statement or one rule.
"""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from psycopg import sql


@cache
def sql_root() -> Traversable:
    """The folder `sql/`: inside an installed wheel, beside the package in a checkout."""
    package = files("knowledge_migration")
    inside = package / "sql"
    return inside if inside.is_dir() else files("knowledge_migration").joinpath("..", "sql")


@cache
def text_of(name: str) -> str:
    """The text of `sql/<name>.sql`; `name` is a path without its ending ("checks/every_entity_has_a_proposal")."""
    return (sql_root() / f"{name}.sql").read_text(encoding="utf-8")


def statement(name: str, **identifiers: str | sql.Composable) -> sql.Composed:
    """`sql/<name>.sql` with its brace names replaced; a plain string is quoted as an identifier ("a.b" as two)."""
    composed = {
        key: sql.Identifier(*value.split(".")) if isinstance(value, str) else value
        for key, value in identifiers.items()
    }
    return sql.SQL(text_of(name)).format(**composed)
