"""The probe: a real extraction through the API, compared in both tables, of which no row remains."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.validation import service as service_module
from knowledge_migration.engine.validation.dual_write_probe import probe
from knowledge_migration.engine.validation.service import ServiceAddress, health
from knowledge_migration.engine.validation.synthetic_messages import marks, synthetic_messages
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.knowledge.extraction.model import Message
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving
from knowledge_migration_tests.support.fence_timeouts import PATIENT

TABLES = (
    "topics", "atoms", "topic_atoms", "atom_links", "messages", "topic_proposals", "atom_proposals",
    "knowledge_extraction_runs", "migration.shadow_failure",
)  # fmt: skip


def counts(connection: Connection) -> dict[str, int]:
    return {table: count(connection, f"SELECT count(*) FROM {table}") for table in TABLES}  # noqa: S608


@pytest.fixture
def dual(peopled: Database, service: str) -> ServiceAddress:
    """A service in dual write."""
    switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    return ServiceAddress(service)


def test_the_probe_finds_both_and_leaves_nothing(peopled: Database, rows: Connection, dual: ServiceAddress) -> None:
    before = counts(rows)
    found = probe(peopled, dual, expect=("dual_write",))
    assert found.mode == "dual_write"
    assert min(found.topics, found.atoms) > 0
    assert found.proposals >= found.topics + found.atoms
    assert counts(rows) == before


def test_before_phase_1_the_service_is_healthy_and_the_probe_writes_nothing(database: Database) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        with serving(database) as url:
            assert health(ServiceAddress(url))["schema_revision"] is None
            with pytest.raises(PreconditionError, match="phase 1"):
                probe(database, ServiceAddress(url), expect=("direct",))
        assert count(connection, "SELECT count(*) FROM topics") == 0
        assert count(connection, "SELECT count(*) FROM messages") == 200


def test_an_extraction_in_direct_mode_leaves_nothing(peopled: Database, rows: Connection, service: str) -> None:
    before = counts(rows)
    found = probe(peopled, ServiceAddress(service), expect=("direct",))
    assert (found.mode, found.proposals) == ("direct", 0)
    assert min(found.topics, found.atoms) > 0
    assert (counts(rows), marks(rows)) == (before, [])


class SlowExtractor:
    """Takes four seconds, and records whether the messages that it receives count as analyzed."""

    name = "slow"

    def __init__(self, rows: Connection) -> None:
        self.rows = rows
        self.analyzed: list[bool] = []

    async def extract(self, messages: Sequence[Message]) -> Any:
        query = "SELECT analyzed FROM messages WHERE id = ANY (%s)"
        ids = [message.id for message in messages]
        self.analyzed += [row["analyzed"] for row in self.rows.execute(query, (ids,)).fetchall()]
        await asyncio.sleep(4)
        return await LocalExtractor().extract(messages)


@pytest.mark.parametrize("mode", ["direct", "dual_write"])
def test_a_service_that_answers_too_late_leaves_nothing(
    mode: str, peopled: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, extractor = counts(rows), SlowExtractor(rows)
    with serving(peopled, extractor) as url:
        if mode == "dual_write":
            switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
        monkeypatch.setattr(service_module, "TIMEOUT_SECONDS", 1.5)
        with pytest.raises(VerificationError, match="did not answer an extraction"):
            probe(peopled, ServiceAddress(url), expect=(mode,))
    assert extractor.analyzed == [True]
    assert (counts(rows), marks(rows)) == (before, [])


KILLED = """
import os, signal, sys
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.validation import dual_write_probe
from knowledge_migration.engine.validation.service import ServiceAddress
dual_write_probe._compare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
dual_write_probe.probe(Database(sys.argv[1]), ServiceAddress(sys.argv[2]), expect=(sys.argv[3],))
"""


@pytest.mark.parametrize("mode", ["direct", "dual_write"])
def test_the_next_probe_removes_what_a_killed_one_left(
    mode: str, peopled: Database, rows: Connection, service: str
) -> None:
    if mode == "dual_write":
        switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    before = counts(rows)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, peopled.url, service, mode], env=dict(os.environ), check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(marks(rows)) == 1
    assert counts(rows)["topics"] > before["topics"]
    probe(peopled, ServiceAddress(service), expect=(mode,))
    assert (counts(rows), marks(rows)) == (before, [])


def test_rows_that_users_write_beside_a_direct_extraction_survive(
    peopled: Database, rows: Connection, service: str
) -> None:
    text = "Decision: `mine-x` keeps its log. `mine-x` must never lose an entry."
    with synthetic_messages(rows, [text]) as (mark, removed):
        with ServiceAddress(service).client() as client:
            asked = {"message_ids": list(mark.message_ids), "user_id": 1}
            answer = client.post("/api/v1/knowledge/extract", json=asked).json()
        rows.execute(
            "INSERT INTO topics (name, description, created_at, updated_at) "
            "SELECT 'of a user', '', created_at, created_at FROM topics WHERE id = %s",
            (answer["topic_ids"][0],),
        )
        rows.execute("UPDATE topics SET description = 'edited' WHERE id = %s", (answer["topic_ids"][0],))
        rows.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'mine-x', '', true)")
    topics = rows.execute("SELECT id, name FROM topics ORDER BY id").fetchall()
    assert [row["id"] for row in topics if row["name"] != "of a user"] == answer["topic_ids"][:1]
    assert "of a user" in {row["name"] for row in topics}
    assert [row["title"] for row in rows.execute("SELECT title FROM atoms")] == ["mine-x"]
    assert [reason.partition(": ")[2] for reason in removed[-1].kept] == ["somebody has changed it."] * 2
    assert (count(rows, "SELECT count(*) FROM messages"), marks(rows)) == (200, [])


def test_another_mode_than_expected_is_a_fault_and_is_cleaned_up(
    peopled: Database, rows: Connection, service: str
) -> None:
    before = counts(rows)
    with pytest.raises(VerificationError, match="mode direct, expected dual_write"):
        probe(peopled, ServiceAddress(service), expect=("dual_write",))
    assert counts(rows) == before


def test_a_shadow_that_fails_is_found(peopled: Database, rows: Connection, dual: ServiceAddress) -> None:
    rows.execute("ALTER TABLE atom_proposals ADD CONSTRAINT nothing_fits CHECK (false) NOT VALID")
    with pytest.raises(VerificationError, match="no proposal"):
        probe(peopled, dual, expect=("dual_write",))
    rows.execute("ALTER TABLE atom_proposals DROP CONSTRAINT nothing_fits")
    assert count(rows, "SELECT count(*) FROM topics") == 0
    assert count(rows, "SELECT count(*) FROM migration.shadow_failure") == 1


def test_a_service_that_does_not_answer_is_named(peopled: Database, rows: Connection) -> None:
    away = ServiceAddress("http://127.0.0.1:9")
    with pytest.raises(VerificationError, match=r"127\.0\.0\.1:9"):
        health(away)
    with pytest.raises(VerificationError, match=r"127\.0\.0\.1:9"):
        probe(peopled, away, expect=("direct",))
    assert count(rows, "SELECT count(*) FROM messages") == 200


def test_the_probe_shows_its_token(peopled: Database) -> None:
    token = "a token of sixteen letters"
    with serving(peopled, admin_token=token) as url:
        with pytest.raises(VerificationError, match="401"):
            probe(peopled, ServiceAddress(url), expect=("direct",))
        assert probe(peopled, ServiceAddress(url, token), expect=("direct",)).mode == "direct"
