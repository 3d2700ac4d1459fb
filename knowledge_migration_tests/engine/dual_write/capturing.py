"""Sessions of an application that is not our service, on a database with the capture; and what must hold afterwards."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema import capture
from knowledge_migration.settings import SchemaChangeSettings

LIMITS = SchemaChangeSettings()
LINKED = "SELECT count(*) FROM {} WHERE migrated_from_proposal_id IS NOT NULL"

UNFAITHFUL = """
SELECT count(*) FROM (
    SELECT 1 FROM topics AS row FULL JOIN topic_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
    WHERE (row.name, row.description, row.icon, row.color, true, 'approved', row.migrated_from_proposal_id)
          IS DISTINCT FROM (proposal.name, proposal.description, proposal.icon, proposal.color,
                            proposal.confidence IS NULL AND row.migration_timestamp IS NOT NULL, proposal.status,
                            migration.origin_proposal_id('topics', row.id))
    UNION ALL
    SELECT 1 FROM atoms AS row FULL JOIN atom_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
    WHERE (row.type, row.title, row.content, row.confidence, row.meta::jsonb, 'approved', row.migrated_from_proposal_id,
           coalesce((SELECT jsonb_agg(topic_id ORDER BY topic_id) FROM topic_atoms WHERE atom_id = row.id), '[]'))
          IS DISTINCT FROM (proposal.type, proposal.title, proposal.content, proposal.confidence, proposal.meta,
                            proposal.status, migration.origin_proposal_id('atoms', row.id), proposal.proposed_topic_ids)
) AS unfaithful
"""
"""Rows without a proposal, proposals without a row, and pairs that differ, relations included."""


def install(database: Database) -> None:
    """The capture, as phase 2 installs it."""
    with database.connect("test") as connection:
        capture.install(connection, LIMITS)


@contextmanager
def application(database: Database, **options: Any) -> Iterator[Connection]:
    """A session that knows nothing of the migration."""
    connection = psycopg.connect(database.conninfo, autocommit=True, row_factory=dict_row, **options)
    try:
        yield connection
    finally:
        connection.close()


def atom(connection: Connection, title: str, meta: str | None = None, confidence: float | None = None) -> int:
    """Writes an atom; returns its id."""
    row = connection.execute(
        "INSERT INTO atoms (type, title, content, confidence, user_approved, meta) "
        "VALUES ('insight', %s, 'content', %s, false, %s) RETURNING id",
        (title, confidence, meta),
    ).fetchone()
    assert row
    return int(row["id"])


def topic(connection: Connection, name: str) -> int:
    """Writes a topic; returns its id."""
    row = connection.execute(
        "INSERT INTO topics (name, description) VALUES (%s, 'about') RETURNING id", (name,)
    ).fetchone()
    assert row
    return int(row["id"])


def relate(connection: Connection, topic_id: int, atom_id: int) -> None:
    """Relates an atom to a topic."""
    connection.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (%s, %s)", (topic_id, atom_id))


class Applications:
    """Several sessions that write at random while the block runs, in transactions of some statements; no statement may fail.

    Each session changes and deletes only rows that it has written itself, so that sessions do not wait for each other.
    """

    def __init__(self, database: Database, seed: int, sessions: int = 3) -> None:
        self.database, self.failures, self.turns = database, list[str](), 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(f"{seed} {n}",)) for n in range(sessions)]

    def __enter__(self) -> "Applications":
        for thread in self.threads:
            thread.start()
        self.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def wait(self, turns: int) -> None:
        """Returns after so many more transactions."""
        until = self.turns + turns
        while self.turns < until and not self.failures:
            self.over.wait(0.02)

    def run(self, name: str) -> None:
        """One session until the end of the block."""
        chance = random.Random(name)
        atoms: list[int] = []
        try:
            with application(self.database) as connection:
                while not self.over.wait(0.005):
                    kept = list(atoms)
                    rolls_back = chance.random() < 0.2
                    with connection.transaction(force_rollback=rolls_back):
                        for _ in range(chance.randint(1, 4)):
                            self.act(connection, chance, kept, f"{name} {chance.random()}")
                    atoms = atoms if rolls_back else kept
                    self.turns += 1
        except psycopg.Error as error:
            self.failures.append(repr(error))

    def act(self, connection: Connection, chance: random.Random, atoms: list[int], text: str) -> None:
        """One statement."""
        one = chance.choice(atoms) if atoms else None
        match chance.randint(0, 7):
            case 0:
                connection.execute("INSERT INTO topics (name, description) VALUES (%s, '')", (text,))
            case 1:
                with connection.cursor().copy("COPY atoms (type, title, content, user_approved) FROM STDIN") as copy:
                    for number in range(chance.randint(1, 20)):
                        copy.write_row(("a", f"{text} {number}", "", False))
            case 2:
                connection.execute(
                    "INSERT INTO topics (name, description) VALUES (%s, '') ON CONFLICT (name) DO NOTHING",
                    (f"shared {text}",),
                )
            case 3 if one:
                connection.execute("UPDATE atoms SET content = %s, updated_at = now() WHERE id = %s", (text, one))
            case 4 if one:
                atoms.remove(one)
                connection.execute("DELETE FROM topic_atoms WHERE atom_id = %s", (one,))
                connection.execute("DELETE FROM atom_links WHERE %s IN (from_atom_id, to_atom_id)", (one,))
                connection.execute("DELETE FROM atoms WHERE id = %s", (one,))
            case 5 if one:
                connection.execute(
                    "INSERT INTO topic_atoms (topic_id, atom_id) SELECT id, %s FROM topics WHERE id <= 60 AND id %% 7 = %s "
                    "ON CONFLICT DO NOTHING",
                    (one, chance.randint(0, 6)),
                )
            case 6 if len(atoms) > 1:
                pair = chance.sample(atoms, 2)
                connection.execute(
                    "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (%s, %s, 'solves') "
                    "ON CONFLICT DO NOTHING",
                    pair,
                )
            case _:
                meta = json.dumps({"source": "llm", "message_ids": [chance.randint(1, 9)]})
                row = connection.execute(
                    "INSERT INTO atoms (type, title, content, user_approved, confidence, meta) "
                    "VALUES ('a', %s, '', true, %s, %s) RETURNING id",
                    (text, chance.choice([None, 0.0, 0.5, 1.0]), meta),
                ).fetchone()
                assert row
                atoms.append(row["id"])
