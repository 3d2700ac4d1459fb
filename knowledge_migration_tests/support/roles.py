"""A role of one test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

from psycopg import sql
from sqlalchemy.engine import make_url

from knowledge_migration.engine.foundation.database import Connection, Database


def run(connection: Connection, statement: LiteralString, *names: str) -> None:
    """One statement with names in its braces."""
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def role(connection: Connection, name: str, attributes: LiteralString = "LOGIN") -> Iterator[Database]:
    """A role that exists while the block runs, and the database as it sees it."""
    run(connection, "CREATE ROLE {} " + attributes, name)
    try:
        yield Database(
            make_url(f"postgresql:///{connection.info.dbname}")
            .set(username=name, query={"host": connection.info.host})
            .render_as_string(hide_password=False)
        )
    finally:
        for end in ("REASSIGN OWNED BY {} TO postgres", "DROP OWNED BY {}", "DROP ROLE {}"):
            run(connection, end, name)
