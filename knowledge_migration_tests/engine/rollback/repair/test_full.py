"""The full rollback is online: afterwards the legacy tables equal the backup except for rows that users wrote since."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.dual_write.switch import switch_on
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError, VerificationError
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.full import (
    EVIDENCE,
    FullRollback,
    FullRollbackOptions,
    plan_full_rollback,
    rollback_full,
)
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.steps import TARGET_REVISION
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.settings import SchemaChangeSettings, ServiceSettings, Settings
from knowledge_migration_tests.conftest import clone, cloned, drop
from knowledge_migration_tests.engine.backfill.backfilling import backfill, count, until
from knowledge_migration_tests.engine.rollback.repair.conftest import differing, taken, values
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, atom, topic
from knowledge_migration_tests.serving import serving
from knowledge_migration_tests.support.fence_timeouts import PATIENT

STEPS = ["flags", "dual write", "backfill", "schema", "rows"]


class Users(threading.Thread):
    """Users of the application who go on reading, editing and extracting while everything is taken back."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.over = threading.Event()
        self.failures: list[str] = []
        self.turns = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.over.is_set():
                self.turns += 1
                body = {"message_ids": [1], "user_id": 1}
                answers = (
                    client.post("/api/v1/knowledge/extract", json=body),
                    client.patch("/api/v1/topics/2", json={"icon": f"icon {self.turns}"}),
                    client.get("/api/v1/topics/1/atoms"),
                )
                self.failures += [f"{one.request.url}: {one.status_code} {one.text}" for one in answers if one.is_error]


@contextmanager
def users(url: str) -> Iterator[Users]:
    running = Users(url)
    running.start()
    try:
        yield running
    finally:
        running.over.set()
        running.join()


def told(first: int) -> FakeExtractor:
    """An extractor that finds something new each time, and something too unsure to be written directly."""
    numbers = itertools.count(first)

    async def answer(_: Any) -> Extraction:
        number = next(numbers)
        return Extraction(
            topics=(topic(f"found {number}", 0.9), topic(f"unsure {number}", 0.4)),
            atoms=(atom(f"atom {number}", f"found {number}", 0.8),),
        )

    return FakeExtractor(answer)


def options(server: EmbeddedServer, folder: Path, **changes: Any) -> FullRollbackOptions:
    sections = {name: changes.pop(name) for name in ("schema_change", "service") if name in changes}
    return FullRollbackOptions(Flags(), folder, server.admin, Settings(fence=PATIENT, **sections), **changes)


def run(database: Database, statement: str) -> None:
    with database.connect("test") as session:
        session.execute(statement)


def back(database: Database, server: EmbeddedServer, folder: Path, **changes: Any) -> FullRollback:
    return rollback_full(database, options(server, folder, **changes), reason="a test")


def migrate(database: Database, url: str) -> None:
    """Phases 1 to 3, with an extraction in dual write before and one in proposal mode after the backfill."""
    body = {"message_ids": [1], "user_id": 1}
    switch_on(database, Flags(), PATIENT, reason="a test")
    httpx.post(f"{url}/api/v1/knowledge/extract", json=body, timeout=30).raise_for_status()
    backfill(database, partition_rows=10_000)
    with database.begin() as transaction:
        changes = {"enabled": True, "cutover_percentage": 100}
        flags = set_flags(transaction, changes, initial=Flags(), actor="a test", reason="a test")
    with database.connect("test") as session:
        until(session, f"SELECT min(flag_version) >= {flags.version} FROM migration.writer_heartbeat")  # noqa: S608
    httpx.post(f"{url}/api/v1/knowledge/extract", json=body, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def migrated_template(server: EmbeddedServer, backed_up_template: Database) -> Iterator[Database]:
    """A copy of the backed up database after phases 1 to 3, in proposal mode."""
    database = clone(server, backed_up_template.name)
    schema.upgrade(database, SchemaChangeSettings())
    with serving(database, told(0), initial_flags=Flags()) as url:
        migrate(database, url)
    yield database
    drop(server, database)


@pytest.fixture
def migrated(server: EmbeddedServer, migrated_template: Database) -> Iterator[Database]:
    """A copy of it without a live service."""
    with cloned(server, migrated_template.name) as copy:
        yield copy


@pytest.fixture(scope="module")
def rolled_back(
    server: EmbeddedServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, FullRollback, FullRollbackOptions]]:
    """A copy of it, rolled back after a user wrote to topic 2; tests only read it."""
    copy, chosen = clone(server, migrated_template.name), options(server, tmp_path_factory.mktemp("exports"))
    with copy.connect("user") as user:
        user.execute("UPDATE topics SET icon = 'theirs', updated_at = now() WHERE id = 2")
    yield copy, rollback_full(copy, chosen, reason="a test"), chosen
    drop(server, copy)


@pytest.mark.parametrize("how", ["full", "schema"])
def test_the_running_service_keeps_its_whole_api_after_the_rollback(
    migrated: Database, server: EmbeddedServer, tmp_path: Path, how: str
) -> None:
    with (
        serving(migrated, told(2), initial_flags=Flags()) as url,
        httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client,
    ):

        def use(name: str) -> None:
            topic = client.post("/topics", json={"name": name, "description": "d"})
            assert topic.status_code == 201, topic.text
            topic_id = topic.json()["id"]
            atom = client.post(
                "/atoms", json={"type": "insight", "title": name, "content": "c", "topic_ids": [topic_id]}
            )
            assert atom.status_code == 201, atom.text
            atom_id = atom.json()["id"]
            assert client.patch(f"/topics/{topic_id}", json={"description": "e"}).status_code == 200
            assert client.patch(f"/atoms/{atom_id}", json={"content": "e"}).status_code == 200
            assert client.get(f"/topics/{topic_id}/atoms").json()["items"][0]["id"] == atom_id
            extracted = client.post("/knowledge/extract", json={"message_ids": [1]})
            assert extracted.status_code == 200, extracted.text
            assert client.delete(f"/atoms/{atom_id}").status_code == 204

        use("before")
        if how == "full":
            back(migrated, server, tmp_path)
        else:
            chosen = options(server, tmp_path)
            roll_back(migrated, chosen.initial_flags, chosen.settings, "instant", reason="a test")
            rollback_schema(
                migrated, chosen.settings.schema_change, reason="a test", export_to=tmp_path / "proposals.jsonl"
            )
        use("after")
    with migrated.connect("test") as rows:
        assert values(rows, "SELECT description FROM topics WHERE name IN ('before', 'after')") == [("e",), ("e",)]


def test_a_migrated_database_is_rolled_back_while_users_write(
    migrated: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    run(migrated, "UPDATE atoms SET content = 'altered by a bad script' WHERE id IN (1, 2, 3)")
    plan = plan_full_rollback(migrated, options(server, tmp_path))
    assert [step.name for step in plan.steps if step.needed] == STEPS
    with serving(migrated, told(2), initial_flags=Flags()) as url, users(url) as running:
        done = back(migrated, server, tmp_path)
    assert running.failures == []
    assert [step.name for step in done.steps if not step.skipped] == STEPS
    assert done.repair.repaired == {"atoms": 3}
    assert done.comparison.is_equal
    assert done.comparison.counts["added"] >= 2
    with migrated.connect("test") as rows:
        assert values(rows, "SELECT content FROM atoms WHERE id <= 3 ORDER BY id") == [
            ("No space left",), ("It helps",), ("Later",),
        ]  # fmt: skip
        assert current_revision(rows) == "0001_evidence"
        assert values(rows, "SELECT to_regclass('topic_proposals')") == [(None,)]


def test_the_rows_that_users_wrote_are_all_that_differs(
    rolled_back: tuple[Database, FullRollback, FullRollbackOptions],
) -> None:
    _, done, _ = rolled_back
    assert {table.table: dict(table.counts) for table in done.comparison.tables if table.counts} == {
        "topics": {"added": 2, "written_since": 1},
        "atoms": {"added": 2},
        "topic_atoms": {"added": 2},
    }
    assert done.comparison.sentence == (
        "12 tables equal the backup except for these rows: 2 added in atoms, 2 added in topics, 1 written since in topics, "
        "2 added in topic_atoms."
    )


def test_it_says_how_long_each_step_took_and_records_it(
    rolled_back: tuple[Database, FullRollback, FullRollbackOptions],
) -> None:
    database, done, _ = rolled_back
    with database.connect("test") as rows:
        recorded = evidence.require(rows, EVIDENCE, made_by="the test").content
    assert [step["name"] for step in recorded["steps"]] == STEPS
    assert recorded["within_limit"]
    assert sum(step.seconds for step in done.steps) <= done.seconds < 600
    assert json.loads(json.dumps(done.to_evidence())) == recorded


def test_proposals_that_exist_nowhere_else_are_exported(
    rolled_back: tuple[Database, FullRollback, FullRollbackOptions],
) -> None:
    database, done, _ = rolled_back
    assert done.export_file
    lines = [json.loads(line) for line in done.export_file.read_text().splitlines()]
    names = {line["row"]["name"] for line in lines if line["table"] == "topic_proposals"}
    assert {"unsure 0", "unsure 1"} <= names
    with database.connect("test") as rows:
        assert count(rows, "SELECT count(*) FROM topics WHERE name = 'found 1'") == 1


def test_a_second_one_has_nothing_left_to_do(
    rolled_back: tuple[Database, FullRollback, FullRollbackOptions], server: EmbeddedServer
) -> None:
    database, _, chosen = rolled_back
    copy = clone(server, database.name)
    with copy.connect("test") as rows:
        before = taken(rows)
        again = rollback_full(copy, chosen, reason="a test")
        assert [step.name for step in again.steps if not step.skipped] == ["rows"]
        assert differing(rows, before) == []
    plan = plan_full_rollback(copy, chosen)
    assert [step.name for step in plan.steps if step.needed] == ["rows"]
    drop(server, copy)


def test_proposals_are_replayed_from_the_direct_threshold_of_the_settings(
    migrated: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    strict = options(server, tmp_path, service=ServiceSettings(direct_threshold=0.95))
    (planned, *_) = plan_full_rollback(migrated, strict).steps
    assert "3 stranded proposals" in planned.message
    done = rollback_full(migrated, strict, reason="a test")
    with migrated.connect("test") as rows:
        assert count(rows, "SELECT count(*) FROM topics WHERE name = 'found 1'") == 0
    assert "0 stranded proposals were replayed, 3 parked" in done.steps[0].message


def test_straight_after_phase_1_there_is_only_the_schema_to_take_back(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    before = taken(rows)
    schema.upgrade(live, SchemaChangeSettings())
    done = back(live, server, tmp_path)
    assert [step.name for step in done.steps if step.skipped] == ["backfill"]
    assert differing(rows, before) == []
    assert done.comparison.sentence == "All 25 rows of 12 tables equal the backup."


EVERYTHING = """
SELECT (SELECT count(*) FROM migration.audit_log), (SELECT count(*) FROM topic_proposals), version FROM feature_flags
"""


def test_the_plan_changes_nothing(migrated: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    with migrated.connect("test") as rows:
        before = (values(rows, EVERYTHING), taken(rows).digest)
        plan_full_rollback(migrated, options(server, tmp_path))
        assert (values(rows, EVERYTHING), taken(rows).digest) == before
    assert list(tmp_path.iterdir()) == []


def test_without_a_sound_backup_nothing_is_begun(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    schema.upgrade(live, SchemaChangeSettings())
    rows.execute(
        "UPDATE migration.evidence SET content = content || '{\"path\": \"/nowhere.dump\"}' WHERE kind = 'verified_backup'"
    )
    with pytest.raises(VerificationError, match=r"/nowhere\.json is missing"):
        back(live, server, tmp_path)
    rows.execute("DELETE FROM migration.evidence WHERE kind = 'verified_backup'")
    with pytest.raises(PreconditionError, match="no verified backup"):
        plan_full_rollback(live, options(server, tmp_path))
    assert values(rows, "SELECT count(*) FROM migration.audit_log") == [(0,)]
    assert current_revision(rows) == TARGET_REVISION


def test_stopped_half_way_by_a_user_it_goes_on_later(
    migrated: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    impatient = options(
        server, tmp_path, schema_change=SchemaChangeSettings(lock_timeout_ms=50, attempts=3, retry_max_seconds=0.1)
    )
    with migrated.connect("user") as user:

        def hold(step: Any) -> None:
            if step.name == "backfill":
                user.execute("BEGIN; SELECT FROM topics LIMIT 1; LOCK TABLE topics IN ACCESS SHARE MODE")

        with pytest.raises(BlockedError):
            rollback_full(migrated, impatient, reason="a test", on_step=hold)
        user.execute("ROLLBACK")
    done = back(migrated, server, tmp_path)
    assert done.comparison.is_equal
    with migrated.connect("test") as rows:
        assert current_revision(rows) == "0001_evidence"
