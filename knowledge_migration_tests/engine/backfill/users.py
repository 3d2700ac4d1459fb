"""Users of the application while the migration runs: they insert, edit and delete, and remember what was acknowledged."""

import threading

import psycopg

from knowledge_migration.engine.foundation.database import Connection, Database, UnreachableError
from knowledge_migration_tests.engine.backfill.backfilling import ATOMS_FILLED

PAUSE_SECONDS = 0.005
"""Between two changes: without it the users write thousands of rows while a test starts a process."""


class Users(threading.Thread):
    """Writes atoms until it is told to stop. Every error but the loss of the server is a failure that a user has seen."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.over = threading.Event()
        self.begun = threading.Event()
        self.turn = 0
        self.titles: dict[int, str] = {}
        self.deleted: set[int] = set()
        self.uncertain: set[int] = set()
        self.lost: set[str] = set()
        self.failures: list[str] = []

    def __enter__(self) -> "Users":
        self.start()
        assert self.begun.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def wait_for_turn(self, turn: int) -> None:
        """Returns when so many changes were tried."""
        while self.turn < turn and not self.failures:
            self.over.wait(0.02)

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with self.database.connect("users") as connection:
                    while not self.over.wait(PAUSE_SECONDS):
                        self.turn += 1
                        self.act(connection)
                        self.begun.set()
            except UnreachableError:
                self.over.wait(0.02)
            except psycopg.Error as error:
                if error.sqlstate and not error.sqlstate.startswith(("57P", "08")):
                    self.failures.append(repr(error))
                    self.begun.set()
                    return
                self.uncertain.add(self.target)
                self.lost.add(f"new {self.turn}")

    @property
    def target(self) -> int:
        """The row of this turn."""
        return 1 + self.turn * 7 % ATOMS_FILLED

    def act(self, connection: Connection) -> None:
        """One change of one user."""
        if self.turn % 5 == 0:
            self.insert(connection, f"new {self.turn}")
        elif self.turn % 11 == 0:
            self.delete(connection, self.target)
        elif self.target not in self.deleted:
            self.edit(connection, self.target, f"edit {self.turn}")

    def insert(self, connection: Connection, title: str) -> None:
        row = connection.execute(
            "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', %s, 'new', false) RETURNING id",
            (title,),
        ).fetchone()
        assert row
        self.titles[row["id"]] = title

    def delete(self, connection: Connection, row_id: int) -> None:
        with connection.transaction():
            connection.execute("DELETE FROM topic_atoms WHERE atom_id = %s", (row_id,))
            connection.execute("DELETE FROM atoms WHERE id = %s", (row_id,))
        self.deleted.add(row_id)

    def edit(self, connection: Connection, row_id: int, title: str) -> None:
        stamp = ", updated_at = clock_timestamp()" if self.turn % 2 else ""
        connection.execute(f"UPDATE atoms SET title = %s{stamp} WHERE id = %s", (title, row_id))  # noqa: S608
        self.titles[row_id] = title

    def check(self, connection: Connection) -> None:
        """Everything that was acknowledged to a user is there, and nobody has seen an error."""
        assert self.failures == []
        found = {row["id"]: row["title"] for row in connection.execute("SELECT id, title FROM atoms")}
        known = {row_id: title for row_id, title in self.titles.items() if row_id not in self.deleted | self.uncertain}
        assert {row_id: found.get(row_id) for row_id in known} == known
        assert not (self.deleted - self.uncertain) & found.keys()
        assert len(known) > 50
