"""Loads the named queries of `sql/`, the only source of statements for the user's database.

`area/query` is a block of `sql/area.sql` that begins with `-- name: query`, or the file `sql/area/query.sql`.
Values are named parameters (`%(low)s`); psycopg composes names in braces (`{table}`) as identifiers.
"""

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from psycopg import sql
from psycopg.abc import AdaptContext

NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def sql_root() -> Traversable:
    """The folder `sql/`: inside an installed wheel, beside the package in a checkout."""
    package = files("knowledge_migration")
    inside = package / "sql"
    return inside if inside.is_dir() else files("knowledge_migration").joinpath("..", "sql")


@cache
def named_queries(area: str) -> dict[str, str]:
    """The queries of `sql/<area>.sql` by name; raises `ValueError` for a name that occurs twice."""
    parts = NAME.split((sql_root() / f"{area}.sql").read_text(encoding="utf-8"))
    names, texts = parts[1::2], parts[2::2]
    if parts[0].strip() or len(set(names)) < len(names):
        raise ValueError(f"sql/{area}.sql must begin with `-- name:` and use each name once.")
    return {name: f"{text.strip()}\n" for name, text in zip(names, texts, strict=True)}


@cache
def text_of(name: str) -> str:
    """The text of one query ("backfill/batch"); raises `FileNotFoundError` naming a query that does not exist."""
    area, _, query = name.rpartition("/")
    file = sql_root() / f"{name}.sql"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if (sql_root() / f"{area}.sql").is_file() and query in named_queries(area):
        return named_queries(area)[query]
    raise FileNotFoundError(f"There is no query {query} in sql/{area}.sql and no file sql/{name}.sql.")


def statement(name: str, **identifiers: str | sql.Composable) -> sql.Composed:
    """The query with its brace names replaced; a plain string is quoted as an identifier ("a.b" as two)."""
    composed = {
        key: sql.Identifier(*value.split(".")) if isinstance(value, str) else value
        for key, value in identifiers.items()
    }
    return sql.SQL(text_of(name)).format(**composed)


class CatalogText(sql.SQL):
    """A name or a type as the catalog writes it, quoted where it needs that."""


def with_literal_percents(query: Any, context: AdaptContext) -> Any:
    """The query for an execution with parameters: a percent sign in a name or a literal is none of a placeholder."""
    if isinstance(query, sql.Composed):
        return sql.Composed([with_literal_percents(part, context) for part in query])
    if isinstance(query, sql.Identifier | sql.Literal | CatalogText):
        return sql.SQL(query.as_string(context).replace("%", "%%"))
    return query
