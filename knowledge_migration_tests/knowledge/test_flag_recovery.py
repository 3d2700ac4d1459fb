"""A lost or damaged row of flags opens no direct writes: what was last audited stays in force, and can be written back."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from knowledge_migration.demo.live_application import free_port, wait_until_healthy
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema.upgrade import upgrade
from knowledge_migration.knowledge.flag_recovery import examine_flags, restore_flags
from knowledge_migration.knowledge.flags import Flags, FlagsError, history, present_flags, read_flags, set_flags
from knowledge_migration.knowledge.writing.modes import confirmed
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.commands.test_cli import COMMAND
from knowledge_migration_tests.engine.backfill.backfilling import count, until
from knowledge_migration_tests.knowledge.test_routing import change
from knowledge_migration_tests.recovering import PROJECT, recover

MESSAGES = """
UPDATE messages SET content = 'Decision: `part-' || id % 25 || '` keeps its audit log in PostgreSQL.'
"""
UNLINKED = "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL"
DIRECT_RUNS = "SELECT count(*) FROM knowledge_extraction_runs WHERE settings ->> 'mode' = 'direct'"
HAVE_SEEN = "SELECT count(*) = 3 FROM migration.writer_heartbeat WHERE mode = '{}' AND flag_version = {}"
DAMAGED = [
    {"config": {"unknown": 1}, "version": 9},
    {"config": [1], "version": 0},
    {"config": {"dual_write": "yes"}, "version": -5},
]


@contextmanager
def service(database: Database, home: Path) -> Iterator[str]:
    """A process of the service; its environment says that nothing was ever switched on."""
    port = str(free_port())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KNOWLEDGE_PROPOSALS")},
        "KNOWLEDGE_MIGRATION_HOME": str(home),
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
    }
    started = subprocess.Popen([str(COMMAND), "serve", "--port", port], env=environment, cwd=PROJECT)
    try:
        assert wait_until_healthy(f"http://127.0.0.1:{port}", lambda: started.poll() is None)
        yield f"http://127.0.0.1:{port}"
    finally:
        started.kill()
        started.wait(30)


def extract(url: str, first: int) -> str:
    """The mode in which an extraction of three messages was written."""
    body = {"message_ids": [first, first + 1, first + 2], "user_id": 1}
    answer = httpx.post(f"{url}/api/v1/knowledge/extract", json=body, timeout=30)
    assert answer.is_success, answer.text
    return str(answer.json()["mode"])


@pytest.mark.parametrize(
    "accident",
    [
        "DELETE FROM feature_flags",
        """UPDATE feature_flags SET enabled = false, config = '"gone"', version = version + 5""",
    ],
    ids=["deleted", "damaged"],
)
def test_nobody_writes_directly_while_the_flags_are_lost_and_everybody_obeys_them_mended(
    peopled: Database, rows: Connection, tmp_path: Path, accident: str
) -> None:
    rows.execute(MESSAGES)
    change(peopled, {"dual_write": True})
    with ExitStack() as running:
        urls = [running.enter_context(service(peopled, tmp_path)) for _ in range(2)]
        assert [extract(url, 1 + 10 * number) for number, url in enumerate(urls)] == ["dual_write"] * 2
        rows.execute(accident)
        urls.append(running.enter_context(service(peopled, tmp_path)))
        assert [extract(url, 51 + 10 * number) for number, url in enumerate(urls)] == ["dual_write"] * 3
        until(rows, HAVE_SEEN.format("dual_write", 1))
        assert (count(rows, UNLINKED), count(rows, DIRECT_RUNS)) == (0, 0)

        tried = recover(peopled, "flags", "--reason", "an accident", "--dry-run", home=tmp_path)
        assert (tried.returncode, '"dual_write": true' in tried.stdout) == (0, True), tried.stderr
        until(rows, HAVE_SEEN.format("dual_write", 1))
        done = recover(peopled, "flags", "--reason", "an accident", "--yes", home=tmp_path)
        assert (done.returncode, "state dual_write" in done.stdout) == (0, True), done.stderr
        version = count(rows, "SELECT version FROM feature_flags WHERE config ->> 'dual_write' = 'true'")
        assert version > 1
        until(rows, HAVE_SEEN.format("dual_write", version))
        change(peopled, {"enabled": True, "cutover_percentage": 100})
        until(rows, HAVE_SEEN.format("full", version + 1))
        assert [extract(url, 101 + 10 * number) for number, url in enumerate(urls)] == ["proposal"] * 3
    assert (count(rows, UNLINKED), count(rows, DIRECT_RUNS)) == (0, 0)
    again = recover(peopled, "flags", "--reason", "an accident", "--yes", home=tmp_path)
    assert "nothing to recover" in again.stdout


def test_a_process_that_knows_newer_flags_than_the_audit_log_keeps_them(peopled: Database, rows: Connection) -> None:
    change(peopled, {"dual_write": True})
    rows.execute("DELETE FROM feature_flags")
    with peopled.begin() as transaction:
        assert present_flags(transaction, Flags())[0] == Flags(dual_write=True, version=1)
        newer = Flags(enabled=True, dual_write=True, version=4)
        assert present_flags(transaction, newer)[0] == newer
        assert confirmed(transaction, newer) == newer
        assert confirmed(transaction, Flags()).dual_write


def test_without_the_schema_of_the_audit_log_the_known_flags_stay_and_the_transaction_lives(
    peopled: Database, rows: Connection
) -> None:
    known = change(peopled, {"dual_write": True})
    rows.execute("DELETE FROM feature_flags; DROP SCHEMA migration CASCADE")
    with peopled.begin() as transaction:
        assert confirmed(transaction, known) == known
        assert transaction.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_flags_that_were_given_up_with_the_schema_do_not_come_back_with_it(peopled: Database, rows: Connection) -> None:
    change(peopled, {"dual_write": True})
    rollback_schema(peopled, SchemaChangeSettings(), reason="a test")
    upgrade(peopled, SchemaChangeSettings())
    with peopled.begin() as transaction:
        assert read_flags(transaction) is None
        with pytest.raises(FlagsError, match="no flags to restore"):
            restore_flags(transaction, actor="a test", reason="to see")
    assert change(peopled, {"cutover_percentage": 1}) == Flags(cutover_percentage=1, version=2)


def test_a_lost_row_does_not_unlock_the_retired_paths(peopled: Database, rows: Connection) -> None:
    full = {"enabled": True, "dual_write": False, "cutover_percentage": 100, "legacy_paths_retired": True}
    change(peopled, full)
    rows.execute("DELETE FROM feature_flags")
    for reset in (False, True):
        with pytest.raises(FlagsError, match="phase 5"):
            change(peopled, {"enabled": False}, reset=reset)


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_row_is_kept_on_record_and_the_version_goes_on(
    peopled: Database, rows: Connection, damaged: dict[str, Any]
) -> None:
    change(peopled, {"cutover_percentage": 3})
    change(peopled, {"dual_write": True})
    rows.execute(
        "UPDATE feature_flags SET config = %(config)s, version = %(version)s",
        {**damaged, "config": Jsonb(damaged["config"])},
    )
    with peopled.begin() as transaction:
        assert examine_flags(transaction).damage
        after, written = restore_flags(transaction, actor="a test", reason="to see")
        assert read_flags(transaction) == after
        entry = history(transaction)[0]
    assert (written, after) == (
        True,
        Flags(cutover_percentage=3, dual_write=True, version=max(2, damaged["version"]) + 1),
    )
    assert (entry["before"]["version"], entry["after"], entry["reason"]) == (
        damaged["version"],
        {**after.values, "version": after.version},
        "to see",
    )


def test_a_row_that_can_be_read_is_left_alone_and_one_past_the_audit_log_is_told(
    peopled: Database, rows: Connection, tmp_path: Path
) -> None:
    change(peopled, {"dual_write": True})
    rows.execute("""UPDATE feature_flags SET config = config || '{"cutover_percentage": 9}'""")
    before = rows.execute("SELECT * FROM feature_flags").fetchall()
    done = recover(peopled, "flags", "--reason", "to see", "--yes", home=tmp_path)
    assert (done.returncode, "past the audit log" in done.stdout) == (0, True)
    assert rows.execute("SELECT * FROM feature_flags").fetchall() == before


def test_of_several_who_mend_and_change_at_once_nobody_overwrites_a_later_change(
    peopled: Database, rows: Connection
) -> None:
    change(peopled, {"dual_write": True})
    rows.execute("DELETE FROM feature_flags")
    ready, failures = threading.Barrier(6), list[BaseException]()

    def one(number: int) -> None:
        try:
            with peopled.begin() as transaction:
                ready.wait(20)
                if number % 2:
                    restore_flags(transaction, actor="a test", reason="to see")
                else:
                    set_flags(transaction, {"cutover_percentage": 10}, initial=Flags(), actor="a test", reason="to see")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with peopled.begin() as transaction:
        now, versions = read_flags(transaction), [entry["after"]["version"] for entry in history(transaction)]
    assert (now and now.dual_write, now and now.cutover_percentage) == (True, 10)
    assert len(versions) == len(set(versions))
    assert versions == sorted(versions, reverse=True)
