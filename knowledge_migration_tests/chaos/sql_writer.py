"""A part of the application that writes by SQL, as it did before the migration."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Json

from knowledge_migration_tests.chaos.journal import NAMES, Table
from knowledge_migration_tests.chaos.users import TIMEOUT_SECONDS, User


@dataclass(eq=False)
class SqlWriter(User):
    """A part of the application that writes by SQL, as before the migration; it is stopped before phase 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.may_write = threading.Event()
        self.idle = threading.Event()

    def stop_writing(self) -> None:
        """Returns when it has ended its transaction and will begin no other."""
        self.may_write.clear()
        self.idle.wait(TIMEOUT_SECONDS)

    def work(self) -> None:
        if not self.may_write.is_set():
            self.idle.set()
            return
        self.idle.clear()
        try:
            with psycopg.connect(self.site.conninfo, application_name="an application") as connection:
                self.write(connection)
        except psycopg.Error as error:
            if error.sqlstate and not error.sqlstate.startswith(("57P", "08")):
                self.journal.failed(time.monotonic(), f"SQL of a user: {error!r}")
            time.sleep(0.1)

    def write(self, connection: psycopg.Connection[Any]) -> None:
        """One change in one transaction; without an answer to COMMIT it may or may not have happened."""
        key = self.own("atoms") if self.random.random() < 0.5 else None
        if key is None:
            return self.insert(connection)
        if self.random.random() < 0.2:
            return self.delete(connection, key)
        values = self.changes(key[0])
        statement = "UPDATE atoms SET content = %s, updated_at = clock_timestamp() WHERE id = %s"
        connection.execute(statement, (values["content"], key[1]))
        if self.committed(connection, lambda: self.journal.unanswered_edit(*key, values)):
            self.journal.edited(*key, values)
        return None

    def insert(self, connection: psycopg.Connection[Any]) -> None:
        table: Table = self.random.choice(("topics", "atoms"))
        values = self.new_values(table)
        self.journal.creating(table, values[NAMES[table]])
        stored = {name: Json(value) if name == "meta" and value else value for name, value in values.items()}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, stored)),
            sql.SQL(", ").join(sql.Placeholder() * len(stored)),
        )
        row = connection.execute(statement, list(stored.values())).fetchone()
        assert row
        if self.committed(connection, self.journal.no_answer):
            self.journal.created(table, row[0], values)
            self.rows.append((table, row[0]))

    def delete(self, connection: psycopg.Connection[Any], key: tuple[Table, int]) -> None:
        connection.execute("DELETE FROM topic_atoms WHERE atom_id = %s", (key[1],))
        connection.execute("DELETE FROM atom_links WHERE %s IN (from_atom_id, to_atom_id)", (key[1],))
        connection.execute("DELETE FROM atoms WHERE id = %s", (key[1],))
        if self.committed(connection, lambda: self.journal.unanswered_edit(*key, None)):
            self.journal.deleted(*key)
            self.rows.remove(key)

    def committed(self, connection: psycopg.Connection[Any], unanswered: Callable[[], None]) -> bool:
        """Whether the server acknowledged the commit."""
        try:
            connection.commit()
        except psycopg.OperationalError:
            unanswered()
            return False
        return True
