"""The example under traffic: with the drop-in through phases 1 to 4, unmodified through phase 3, and back; nothing is lost."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from examples.tasktracker.app import create_app
from knowledge_migration.engine.backfill.completion import complete
from knowledge_migration.engine.backfill.phase import plan_backfill
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.cutover.promotion import promote
from knowledge_migration.engine.cutover.readiness import readiness
from knowledge_migration.engine.dual_write.switch import store_flags, switch_on
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema.upgrade import upgrade
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import SchemaChangeSettings, Settings
from knowledge_migration.thresholds import STAGES
from knowledge_migration_tests.engine.backfill.backfilling import ATOMS_FILLED, QUICK, count, fill
from knowledge_migration_tests.engine.cutover.stages_reached import kept
from knowledge_migration_tests.examples.conftest import url_of
from knowledge_migration_tests.serving import serving_app

PEOPLE_AND_MESSAGES = """
INSERT INTO users (first_name, is_active, is_bot) SELECT 'user ' || n, true, false FROM generate_series(1, 20) AS n;
INSERT INTO sources (name, type, is_active) VALUES ('chat', 'telegram', true);
INSERT INTO messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT 'm' || n, 'about #subject-' || n % 30, timestamp '2026-01-01' + n * interval '1 minute', 1, 1 + n % 20, false
FROM generate_series(1, 20000) AS n;
"""
EXTRACTED = """
SELECT m, sum(atoms) AS atoms, sum(pending) AS pending FROM (
    SELECT substring(title FROM '(?:Problem|Solution) of message (\\d+)')::int AS m, 1 AS atoms, 0 AS pending FROM atoms
    UNION ALL
    SELECT substring(title FROM '(?:Problem|Solution) of message (\\d+)')::int, 0, 1 FROM {pending}
) AS rows WHERE m IS NOT NULL GROUP BY m
"""
PENDING = "(SELECT title FROM atom_proposals WHERE status = 'pending') AS waiting"
UNLINKED = "SELECT (SELECT count(*) FROM {0} WHERE migrated_from_proposal_id IS NULL)"
SETTINGS = Settings(backfill=QUICK)
USERS, PAUSE_SECONDS = 3, 0.2


class Users:
    """Threads that extract from a new message each time, correct old atoms and read; they remember what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.url, self.over = url, threading.Event()
        self.numbers = itertools.count(1)
        self.extracted: list[int] = []
        self.edited: dict[int, str] = {}
        self.failures: list[str] = []

    @contextmanager
    def running(self) -> Iterator["Users"]:
        """While the block runs."""
        threads = [threading.Thread(target=self._run) for _ in range(USERS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def go_on(self, extractions: int = 6) -> None:
        """Returns after so many more extractions."""
        goal = len(self.extracted) + extractions
        while len(self.extracted) < goal and not self.failures:
            self.over.wait(0.02)

    def _run(self) -> None:
        with httpx.Client(base_url=f"{self.url}/api/v1", timeout=60) as http:
            while not self.over.is_set() and not self.failures:
                number = next(self.numbers)
                self._send(http, "POST", "/knowledge/extract", {"message_ids": [number], "user_id": 1 + number % 20})
                self.extracted.append(number)
                row = 1 + number * 7 % ATOMS_FILLED
                self._send(http, "PATCH", f"/atoms/{row}", {"content": f"corrected {number}"})
                self._send(http, "GET", "/topics", None)
                self.over.wait(PAUSE_SECONDS)

    def _send(self, http: httpx.Client, method: str, path: str, body: object) -> None:
        try:
            answer = http.request(method, path, json=body)
            if answer.status_code != 200:
                self.failures.append(f"{method} {path}: {answer.status_code} {answer.text}")
        except httpx.HTTPError as error:
            self.failures.append(f"{method} {path}: {error!r}")


def nothing_is_lost(users: Users, rows: Connection, *, pending: str = PENDING) -> None:
    """Both sure atoms of each acknowledged extraction exist once, as a row or as a pending proposal."""
    acknowledged = set(users.extracted)
    assert users.failures == []
    found = {row["m"]: row["atoms"] + row["pending"] for row in rows.execute(EXTRACTED.format(pending=pending))}
    assert {number: found.get(number) for number in acknowledged} == dict.fromkeys(acknowledged, 2)


def unlinked(rows: Connection) -> dict[str, int]:
    return {table: count(rows, UNLINKED.format(table)) for table in ("topics", "atoms")}


@pytest.fixture
def filled(tasktracker: Database, rows: Connection) -> Database:
    """With rows of every oddity, JSON null among them, and messages to extract from."""
    fill(tasktracker)
    rows.execute(PEOPLE_AND_MESSAGES)
    return tasktracker


def expand(database: Database, rows: Connection) -> None:
    upgrade(database, SchemaChangeSettings())
    store_flags(database, Flags())
    kept(rows, "data_quality", findings=[])


def revert(database: Database, users: Users, folder: Path) -> None:
    rollback_backfill(database, reason="a test", limits=QUICK)
    rollback_dual_write(database, Flags(), SETTINGS.fence, reason="a test", limits=QUICK)
    users.go_on()
    rollback_schema(database, SchemaChangeSettings(), reason="a test", export_to=folder / "proposals.json")
    users.go_on()


def backfill(database: Database) -> None:
    planned = plan_backfill(
        database, QUICK, partition_rows=100, max_partitions=200, no_live_writers=False, timeouts=SETTINGS.fence
    )
    for plan in planned.plans.values():
        for partition in plan.partitions:
            backfill_partition(database, partition, QUICK)
    complete(database, QUICK)


def cut_over(database: Database, users: Users) -> None:
    for stage in STAGES:
        ready = readiness(database, SETTINGS, stage, (), now=database.now())
        promote(
            database, Flags(), SETTINGS.fence, ready, reason="a test", override_reason="a test", admin_user_ids=(1, 2)
        )
        users.go_on()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_with_the_drop_in_it_goes_to_full_cutover_and_back(filled: Database, rows: Connection, tmp_path: Path) -> None:
    with serving_app(create_app(url_of(filled), drop_in=True)) as url, Users(url).running() as users:
        users.go_on()
        expand(filled, rows)
        users.go_on()
        _, fence = switch_on(filled, Flags(), SETTINGS.fence, reason="a test")
        assert len(fence.writers) == 1
        users.go_on()
        backfill(filled)
        users.go_on()
        assert unlinked(rows) == {"topics": 0, "atoms": 0}
        cut_over(filled, users)
        last = max(users.extracted)
        users.go_on(2 * USERS)
        assert count(rows, f"SELECT count(*) FROM atoms WHERE title = 'Problem of message {last + USERS}'") == 0  # noqa: S608
        assert count(rows, "SELECT count(*) FROM migration.shadow_failure") == 0
        assert unlinked(rows) == {"topics": 0, "atoms": 0}

        roll_back(filled, Flags(), SETTINGS, "instant", reason="a test")
        users.go_on()
        assert unlinked(rows) == {"topics": 0, "atoms": 0}
        revert(filled, users, tmp_path)
    assert len(users.extracted) > 50
    nothing_is_lost(users, rows, pending="(SELECT NULL::text AS title) AS none")
    assert count(rows, "SELECT count(*) FROM atoms WHERE title LIKE 'Guess%'") == 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("tasktracker", [16], indirect=True)
def test_unmodified_it_is_captured_through_phase_3_and_back(filled: Database, rows: Connection, tmp_path: Path) -> None:
    with serving_app(create_app(url_of(filled), drop_in=False)) as url, Users(url).running() as users:
        users.go_on()
        expand(filled, rows)
        _, fence = switch_on(filled, Flags(), SETTINGS.fence, reason="a test")
        assert fence.writers == ()
        users.go_on()
        backfill(filled)
        users.go_on()
        assert unlinked(rows) == {"topics": 0, "atoms": 0}
        assert count(rows, "SELECT count(*) FROM migration.capture_log WHERE sqlstate IS NOT NULL") == 0

        revert(filled, users, tmp_path)
    assert len(users.extracted) > 30
    nothing_is_lost(users, rows, pending="(SELECT NULL::text AS title) AS none")
