"""After any sequence of decisions, with users writing between them, every rule of the migration holds.

Each sequence is drawn from a seed: extractions of a few names, so that they meet, every decision on any proposal, each at
once repeated, and what users do to topics and atoms meanwhile.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.entities import change_entity, delete_atom
from knowledge_migration.knowledge.entity_kinds import APPROVED, ATOM, KINDS, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError, KnowledgeError, UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.review import Decision
from knowledge_migration_tests.conftest import clone, cloned, drop
from knowledge_migration_tests.engine.backfill.backfilling import backfill
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import ME, SYSTEM, broken_rules, propose_in

TOPIC_NAMES = ("backups", "disks", "networks", "legacy 1")
ATOM_TITLES = ("restore", "rehearse", "replace", "measure", "legacy 2")
LEGACY = """
INSERT INTO topics (name, description) SELECT 'legacy ' || n, 'old' FROM generate_series(1, 4) AS n;
INSERT INTO atoms (type, title, content, user_approved, confidence)
SELECT 'insight', 'legacy ' || n, 'what legacy ' || n || ' says', true, CASE WHEN n % 2 = 0 THEN 0.5 END
FROM generate_series(1, 4) AS n;
INSERT INTO topic_atoms (topic_id, atom_id) VALUES (1, 1), (2, 2);
"""
FILE = """
INSERT INTO topic_atoms (topic_id, atom_id) SELECT t.id, a.id FROM topics t, atoms a WHERE t.id = %s AND a.id = %s
ON CONFLICT DO NOTHING RETURNING 1
"""
UNTOUCHED = 4  # this legacy topic and this legacy atom are left to compare with
ELSEWHERE = ("every_topic_has_a_proposal", "every_atom_has_a_proposal", "proposed_topics_match_relations")
STEPS = 45


@dataclass
class History:
    """A sequence of steps, each in a transaction of its own, and what users did in it."""

    connection: sa.Connection
    draw: random.Random
    most_runs: int
    keys: list[UUID] = field(default_factory=list)
    proposed: dict[UUID, tuple[EntityKind, dict[str, Any]]] = field(default_factory=dict)
    deleted_atoms: set[int] = field(default_factory=set)
    by_users: set[tuple[int, int]] = field(default_factory=set)
    runs: int = 0

    def play(self) -> Iterator[str]:
        """Takes the steps, one by one."""
        decisions: list[Callable[[], str]] = [
            self.approve,
            self.approve_corrected,
            self.auto_approve,
            self.reject,
            self.merge,
            self.undo,
        ]
        users: list[Callable[[], str]] = [self.edit, self.delete, self.file, self.extract]
        self.extract()
        for _ in range(STEPS):
            yield self.draw.choice(decisions * 4 + users)()

    def approve(self) -> str:
        return self.decide(review.approve, ME)

    def approve_corrected(self) -> str:
        """Approves one under a name that others may have."""
        key = self.draw.choice(list(self.proposed))
        kind = self.proposed[key][0]
        names = TOPIC_NAMES if kind is TOPIC else ATOM_TITLES
        detail = "description" if kind is TOPIC else "content"
        changes = {kind.label: self.draw.choice((*names, "corrected")), detail: f"corrected {self.draw.randint(1, 2)}"}
        return self.decide_about(key, review.approve, ME, changes=changes)

    def auto_approve(self) -> str:
        return self.decide(review.approve, SYSTEM, status="auto_approved")

    def reject(self) -> str:
        return self.decide(review.reject, ME)

    def undo(self) -> str:
        return self.decide(undo.undo, ME)

    def merge(self) -> str:
        return self.decide(review.merge, self.draw.randint(1, 9), ME)

    def decide(self, action: Callable[..., Decision], *given: Any, **more: Any) -> str:
        return self.decide_about(self.draw.choice(self.keys), action, *given, **more)

    def decide_about(self, key: UUID, action: Callable[..., Decision], *given: Any, **more: Any) -> str:
        try:
            with self.connection.begin():
                first = action(self.connection, key, *given, **more)
            with self.connection.begin():
                again = action(self.connection, key, *given, **more)
        except (ConflictError, UnknownError) as refusal:
            return f"{action.__name__} {key}: {refusal}"
        assert (again.status, again.entity_id, again.changed) == (first.status, first.entity_id, False)
        return f"{action.__name__} {key}: {first.status} {first.entity_id}"

    def extract(self) -> str:
        if self.runs == self.most_runs:
            return "no further extraction"
        self.runs += 1
        names = self.draw.sample(TOPIC_NAMES, 2)
        titles = self.draw.sample(ATOM_TITLES, 3)
        found = Extraction(
            topics=tuple(topic(name, 0.7, self.draw.sample(range(1, 9), 2)) for name in names),
            atoms=tuple(
                atom(
                    title,
                    self.draw.choice((*names, "legacy 3")),
                    0.7,
                    links_to_atom_titles=(self.draw.choice(titles),),
                    link_types=("supports",),
                )
                for title in titles
            ),
        )
        with self.connection.begin():
            keys = propose_in(self.connection, found).values()
            self.proposed |= {key: said for key, said in values_of(self.connection).items() if key in keys}
        self.keys += keys
        return f"extracted {found}"

    def edit(self) -> str:
        kind, row_id = self.draw.choice((TOPIC, ATOM)), self.row()
        names = TOPIC_NAMES if kind is TOPIC else ATOM_TITLES
        values = {kind.label: self.draw.choice((*names, "edited"))} if self.draw.random() < 0.5 else {}
        detail = {"description" if kind is TOPIC else "content": "edited"}
        return self.as_user(lambda: change_entity(self.connection, kind, row_id, values or detail))

    def delete(self) -> str:
        row_id = self.row()
        said = self.as_user(lambda: delete_atom(self.connection, row_id, actor="a user"))
        self.deleted_atoms.add(row_id)
        self.by_users = {pair for pair in self.by_users if pair[1] != row_id}
        return said

    def file(self) -> str:
        topic_id, atom_id = self.row(), self.row()
        with self.connection.begin():
            if self.connection.exec_driver_sql(FILE, (topic_id, atom_id)).one_or_none():
                self.by_users.add((topic_id, atom_id))
        return f"filed {atom_id} under {topic_id}"

    def row(self) -> int:
        return self.draw.choice([number for number in range(1, 10) if number != UNTOUCHED])

    def as_user(self, work: Callable[[], Any]) -> str:
        try:
            with self.connection.begin():
                return str(work())
        except KnowledgeError as refusal:
            return str(refusal)


def values_of(connection: sa.Connection, *but: str) -> dict[UUID, tuple[EntityKind, dict[str, Any]]]:
    """What every proposal says now, but for those of these states."""
    return {
        row["id"]: (kind, {name: row[name] for name in kind.values})
        for kind in KINDS
        for row in connection.execute(sa.select(kind.proposals)).mappings()
        if row["status"] not in but
    }


def standing(connection: sa.Connection, kind: EntityKind) -> dict[UUID, sa.RowMapping]:
    """Every proposal with the row that it stands for, as `entity`; computed apart from `EntityKind.entity_of`."""
    one = kind.name
    query = (
        f"SELECT p.*, CASE WHEN status IN ('approved', 'auto_approved') THEN coalesce((SELECT id FROM {one}s "  # noqa: S608
        f"WHERE migrated_from_proposal_id = p.id), CASE WHEN p.entity_id IS NULL THEN similar_{one}_id END) "
        f"WHEN status = 'merged' THEN similar_{one}_id END AS entity FROM {one}_proposals p"
    )
    return {row["id"]: row for row in connection.exec_driver_sql(query).mappings()}


def wanted_relations(connection: sa.Connection) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """The relations that the proposals which stand ask for: (topic, atom), and (from atom, to atom)."""
    topics, atoms = standing(connection, TOPIC), standing(connection, ATOM)
    existing = set(connection.exec_driver_sql("SELECT id FROM topics").scalars())
    filed, links = set(), set()
    for proposal in atoms.values():
        if proposal["entity"] is None or proposal["review_action"] == "auto_approve_migration":
            continue
        for reference in proposal["proposed_topic_ids"] or ():
            topic_id = reference if isinstance(reference, int) else topics[UUID(reference)]["entity"]
            if topic_id in existing:
                filed.add((topic_id, proposal["entity"]))
        for link in proposal["proposed_links"] or ():
            target = atoms[UUID(link["proposal"])]["entity"]
            if target not in (None, proposal["entity"]):
                links.add((proposal["entity"], target))
    return filed, links


def pairs(connection: sa.Connection, query: str) -> set[tuple[int, int]]:
    return {(row[0], row[1]) for row in connection.exec_driver_sql(query)}


@pytest.fixture(scope="module")
def migrated_template(server: EmbeddedServer, peopled_template: str) -> Iterator[str]:
    """The name of a database with rows of before the proposals, backfilled."""
    template = clone(server, peopled_template)
    with template.connect("test template") as connection:
        connection.execute(LEGACY)
    backfill(template)
    yield template.name
    drop(server, template)


@pytest.fixture
def peopled(server: EmbeddedServer, migrated_template: str) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, migrated_template) as copy:
        yield copy


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("most_runs", [1, 6])
def test_every_rule_holds_after_any_sequence_of_decisions(
    rows: Connection, sql: sa.Connection, most_runs: int, seed: int
) -> None:
    history = History(sql, random.Random(seed), most_runs)
    backfilled = rows.execute("SELECT id FROM topic_proposals UNION ALL SELECT id FROM atom_proposals ORDER BY id")
    history.keys += [row["id"] for row in backfilled]
    told = []
    for step in history.play():
        told.append(step)
        assert_relations(history, told)
    forget_matches_with_deleted_atoms(rows)
    assert broken_rules(rows, *ELSEWHERE) == [], told
    assert_each_stands_for_one(history, told)
    with history.connection.begin():
        unapproved = values_of(history.connection, *APPROVED)
    assert unapproved == {key: history.proposed[key] for key in unapproved}, told


def forget_matches_with_deleted_atoms(rows: Connection) -> None:
    """The rule about orphans does not know yet that the atom which a proposal matched may be deleted by a user."""
    rows.execute(
        "UPDATE atom_proposals SET status = 'pending' WHERE status LIKE '%approved' AND similarity_type = 'exact' "
        "AND similar_atom_id IS NULL AND entity_id IS NULL"
    )


def assert_relations(history: History, told: list[str]) -> None:
    with history.connection.begin():
        filed, links = wanted_relations(history.connection)
        topic_atoms = pairs(history.connection, "SELECT topic_id, atom_id FROM topic_atoms")
        atom_links = pairs(history.connection, "SELECT from_atom_id, to_atom_id FROM atom_links")
    before = {pair for pair in ((1, 1), (2, 2)) if pair[1] not in history.deleted_atoms}
    assert filed | history.by_users | before <= topic_atoms, told
    assert links <= atom_links, told
    if history.most_runs == 1:  # what two runs asked for may outlive both
        assert topic_atoms == filed | history.by_users | before, told
        assert atom_links == links, told


def assert_each_stands_for_one(history: History, told: list[str]) -> None:
    with history.connection.begin():
        for kind in KINDS:
            existing = set(history.connection.exec_driver_sql(f"SELECT id FROM {kind.name}s").scalars())  # noqa: S608
            found = standing(history.connection, kind)
            query = sa.select(kind.proposals.c.id, kind.entity_of).select_from(kind.joined)
            assert {row[0]: row[1] for row in history.connection.execute(query)} == {
                key: row["entity"] for key, row in found.items()
            }, told
            without = [row for row in found.values() if row["status"].endswith("approved") and row["entity"] is None]
            assert kind is ATOM or without == [], told
            assert len(without) <= len(history.deleted_atoms) * history.most_runs, told
            assert {row["entity"] for row in found.values()} - {None} <= existing, told
        legacy = set(history.connection.exec_driver_sql("SELECT id FROM atoms WHERE id <= 4").scalars())
        assert legacy == {1, 2, 3, 4} - history.deleted_atoms, told
        assert history.connection.exec_driver_sql("SELECT count(*) FROM topics WHERE id <= 4").scalar_one() == 4, told
