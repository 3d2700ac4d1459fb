"""Sessions of an application that knows nothing of the migration: they write by SQL in every way, and remember it.

A row is known by its name, which is used once. Each session changes rows of its own only, so that sessions do not wait for each
other: any statement that fails is a fault, unless the session was ended. It imports nothing of the migration.
"""

import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from knowledge_migration_tests.chaos.journal import NAMES, Table

Key = tuple[Table, str]
UNCAPTURED = "unseen"
"""Names of rows that a session writes where no trigger fires."""

LARGEST = 60
"""Atoms of a session; with more it deletes."""
ENDED = (None, "57P01")
COLUMNS = "(type, title, content, confidence, user_approved, meta)"
RELATED = ("topic 1", "topic 2", "topic 3", "topic 4", "topic 5")
"""Topics that exist from the start and that nobody changes."""


@dataclass
class Memory:
    """What a session knows to be committed: the contents of each row in order, deletions, relations by the names of both."""

    contents: dict[Key, list[str]] = field(default_factory=dict)
    gone: dict[Key, bool] = field(default_factory=dict)  # whether its deletion was captured
    related: set[tuple[str, str]] = field(default_factory=set)
    parted: set[tuple[str, str]] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    unclear: set[Key] = field(default_factory=set)

    def write(self, key: Key, content: str) -> None:
        """A row is written."""
        self.contents.setdefault(key, []).append(content)

    def copied(self) -> "Memory":
        """The state of a transaction or savepoint that may be rolled back."""
        contents = {key: list(values) for key, values in self.contents.items()}
        pairs = (set(self.related), set(self.parted), set(self.held), set(self.unclear))
        return Memory(contents, dict(self.gone), *pairs)

    def touched(self, before: "Memory") -> set[Key]:
        """The rows that differ from an earlier state, through their relations too."""
        keys = {key for key in self.contents if self.contents[key] != before.contents.get(key)}
        pairs = (self.related ^ before.related) | (self.parted ^ before.parted)
        return keys | (self.gone.keys() - before.gone.keys()) | {("atoms", atom) for _, atom in pairs}


@dataclass(eq=False)
class Session(threading.Thread):
    """One session, until `over` is set or a statement fails although nobody has ended the session (`failures`)."""

    conninfo: str
    label: str
    capturing: threading.Event
    over: threading.Event
    pause_seconds: float = 0.25

    def __post_init__(self) -> None:
        super().__init__(name=self.label, daemon=True)
        self.random = random.Random(self.label)
        self.memory, self.failures, self.shared = Memory(), list[str](), set[str]()
        self.numbers = self.statements = self.ended = 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with psycopg.connect(self.conninfo, application_name=f"session {self.label}") as connection:
                    while not self.over.wait(self.random.uniform(0, 2 * self.pause_seconds)):
                        self.transact(connection)
            except psycopg.Error as error:
                if isinstance(error, psycopg.OperationalError) and error.sqlstate in ENDED:
                    self.ended += 1
                else:
                    return self.failures.append(f"{error.sqlstate} {error!r}")
            except BaseException as error:
                self.failures.append(repr(error))
                raise
        return None

    def transact(self, connection: psycopg.Connection[Any]) -> None:
        """One transaction of some statements, sometimes long, sometimes rolled back; without an answer its rows are unclear."""
        draft, shared = self.memory.copied(), set[str]()
        for _ in range(self.random.choice((1, 1, 2, 4))):
            self.statement(connection, draft)
            if self.random.random() < 0.03:
                self.over.wait(0.15)
        if self.random.random() < 0.2:
            shared = self.upsert(connection)
        if self.random.random() < 0.15:
            return connection.rollback()
        try:
            connection.commit()
        except psycopg.OperationalError:
            self.memory.unclear |= draft.touched(self.memory)
            raise
        self.memory = draft
        self.shared |= shared
        return None

    def statement(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """One of the ways to write; sometimes in a savepoint that is rolled back."""
        ways: tuple[Callable[[psycopg.Connection[Any], Memory], None], ...] = (
            self.insert_atom,
            self.insert_topic,
            self.copy,
            self.insert_select,
            self.insert_related,
            self.merge,
            self.edit,
            self.edit,
            self.edit_many,
            self.delete_atom,
            self.delete_topic,
            self.relate,
            self.relate,
            self.part,
            self.link,
            self.insert_unseen,
        )
        way = self.delete_atom if len(self.own(draft, "atoms")) > LARGEST else self.random.choice(ways)
        if self.random.random() < 0.1:
            with connection.transaction(force_rollback=True):
                way(connection, draft.copied())
        else:
            way(connection, draft)

    def execute(self, connection: psycopg.Connection[Any], query: str, *values: Any) -> None:
        """One statement."""
        self.statements += 1
        connection.execute(query.encode(), values)

    def new(self, prefix: str = "") -> str:
        """A name that nobody else uses."""
        self.numbers += 1
        return f"{prefix}{self.label} {self.numbers}"

    def own(self, draft: Memory, table: Table) -> list[str]:
        """Its rows of a table, as they are in this transaction."""
        gone = draft.gone.keys() | self.memory.unclear
        return [name for kind, name in draft.contents if kind == table and (kind, name) not in gone]

    def some(self, draft: Memory, table: Table, number: int) -> list[str]:
        """At most so many of them."""
        names = self.own(draft, table)
        return self.random.sample(names, min(number, len(names)))

    def meta(self) -> str | None:
        """What extractions write."""
        ids = {"source": "llm", "message_ids": [self.random.randint(1, 9)]}
        return self.random.choice((None, "null", json.dumps({"source": "llm"}), json.dumps(ids)))

    def insert_atom(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """Sometimes one that cannot become a proposal."""
        name, confidence = self.new(), self.random.choice((None, 0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 1.5, float("nan")))
        if confidence not in (None, 0.0, 0.5, 1.0):
            draft.held.add(name)
        query = f"INSERT INTO atoms {COLUMNS} VALUES ('insight', %s, %s, %s, false, %s)"  # noqa: S608
        self.execute(connection, query, name, "first", confidence, self.meta())
        draft.write(("atoms", name), "first")

    def insert_topic(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        name = self.new()
        self.execute(connection, "INSERT INTO topics (name, description) VALUES (%s, 'first')", name)
        draft.write(("topics", name), "first")

    def copy(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        names = [self.new() for _ in range(self.random.randint(1, 12))]
        self.statements += 1
        with connection.cursor().copy(f"COPY atoms {COLUMNS} FROM STDIN") as lines:
            for name in names:
                lines.write_row(("copied", name, "first", 0.25, False, self.meta()))
        for name in names:
            draft.write(("atoms", name), "first")

    def insert_select(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        names = [self.new() for _ in range(self.random.randint(1, 12))]
        query = (
            f"INSERT INTO atoms {COLUMNS} SELECT 'bulk', name, 'first', NULL, true, %s FROM unnest(%s::text[]) AS name"  # noqa: S608
        )
        self.execute(connection, query, self.meta(), names)
        for name in names:
            draft.write(("atoms", name), "first")

    def insert_related(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """An atom and its relations in one statement."""
        name, topics = self.new(), self.random.sample(RELATED, 2)
        query = (
            f"WITH new AS (INSERT INTO atoms {COLUMNS} VALUES ('one', %s, 'first', 1, true, %s) RETURNING id) "  # noqa: S608
            "INSERT INTO topic_atoms (topic_id, atom_id) SELECT topics.id, new.id FROM topics, new WHERE name = ANY (%s)"
        )
        self.execute(connection, query, name, self.meta(), topics)
        draft.write(("atoms", name), "first")
        draft.related |= {(topic, name) for topic in topics}

    def merge(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        names, content = [*self.some(draft, "atoms", 2), self.new(), self.new()], self.new("merged ")
        query = (
            "MERGE INTO atoms USING unnest(%s::text[]) AS given (title) ON atoms.title = given.title "
            "WHEN MATCHED THEN UPDATE SET content = %s "
            "WHEN NOT MATCHED THEN INSERT (type, title, content, user_approved) VALUES ('merged', given.title, %s, false)"
        )
        self.execute(connection, query, names, content, content)
        for name in names:
            draft.write(("atoms", name), content)

    def upsert(self, connection: psycopg.Connection[Any]) -> set[str]:
        """Topics that all sessions write, in one order and last in a transaction, so that two never wait for each other."""
        names = sorted({f"shared {self.random.randint(1, 30):02d}" for _ in range(3)})
        action = self.random.choice(("NOTHING", "UPDATE SET updated_at = now()"))
        query = "INSERT INTO topics (name, description) SELECT name, '' FROM unnest(%s::text[]) AS name ON CONFLICT (name) DO "
        query += action
        self.execute(connection, query, names)
        return set(names)

    def edit(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """Half of the edits leave updated_at as it is."""
        table: Table = self.random.choice(("topics", "atoms"))
        column = "description" if table == "topics" else "content"
        stamp = self.random.choice(("", ", updated_at = clock_timestamp()"))
        for name in self.some(draft, table, 1):
            content = self.new("edited ")
            query = f"UPDATE {table} SET {column} = %s{stamp} WHERE {NAMES[table]} = %s"  # noqa: S608
            self.execute(connection, query, content, name)
            draft.write((table, name), content)

    def edit_many(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        names, content = self.some(draft, "atoms", 10), self.new("edited ")
        self.execute(connection, "UPDATE atoms SET content = %s WHERE title = ANY (%s)", content, names)
        for name in names:
            draft.write(("atoms", name), content)

    def delete_atom(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        for name in self.some(draft, "atoms", self.random.choice((1, 1, 5))):
            one = "(SELECT id FROM atoms WHERE title = %s)"
            self.execute(connection, f"DELETE FROM topic_atoms WHERE atom_id = {one}", name)  # noqa: S608
            self.execute(connection, f"DELETE FROM atom_links WHERE {one} IN (from_atom_id, to_atom_id)", name)  # noqa: S608
            self.execute(connection, "DELETE FROM atoms WHERE title = %s", name)
            self.forget(draft, ("atoms", name))

    def delete_topic(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        for name in self.some(draft, "topics", 1):
            query = "DELETE FROM topic_atoms WHERE topic_id = (SELECT id FROM topics WHERE name = %s)"
            self.execute(connection, query, name)
            self.execute(connection, "DELETE FROM topics WHERE name = %s", name)
            self.forget(draft, ("topics", name))

    def forget(self, draft: Memory, key: Key) -> None:
        """A row is deleted, with its relations."""
        draft.gone[key] = self.capturing.is_set()
        draft.related = {pair for pair in draft.related if key[1] not in pair}

    def relate(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """Relations of an atom that is there."""
        topics = [self.random.choice(RELATED), *self.some(draft, "topics", 1)]
        for name in self.some(draft, "atoms", 1):
            query = (
                "INSERT INTO topic_atoms (topic_id, atom_id) SELECT topics.id, atoms.id FROM topics, atoms "
                "WHERE name = ANY (%s) AND title = %s ON CONFLICT DO NOTHING"
            )
            self.execute(connection, query, topics, name)
            draft.related |= {(topic, name) for topic in topics}
            draft.parted -= draft.related

    def part(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """A relation ends."""
        for topic, name in self.random.sample(sorted(draft.related), min(1, len(draft.related))):
            query = (
                "DELETE FROM topic_atoms WHERE topic_id = (SELECT id FROM topics WHERE name = %s) "
                "AND atom_id = (SELECT id FROM atoms WHERE title = %s)"
            )
            self.execute(connection, query, topic, name)
            draft.related.discard((topic, name))
            draft.parted.add((topic, name))

    def link(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        query = (
            "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) SELECT one.id, other.id, 'supports' "
            "FROM atoms AS one, atoms AS other WHERE one.title = %s AND other.title = %s ON CONFLICT DO NOTHING"
        )
        self.execute(connection, query, *(self.some(draft, "atoms", 2) * 2 or ["none", "none"])[:2])

    def insert_unseen(self, connection: psycopg.Connection[Any], draft: Memory) -> None:
        """Rows that no trigger sees, as a restore or a subscription writes them; rare."""
        if self.random.random() < 0.3:
            name = self.new(UNCAPTURED)
            self.execute(connection, "SET LOCAL session_replication_role = replica")
            query = "INSERT INTO atoms (type, title, content, user_approved) VALUES ('a', %s, 'first', true)"
            self.execute(connection, query, name)
            self.execute(connection, "SET LOCAL session_replication_role = origin")
            draft.write(("atoms", name), "first")
