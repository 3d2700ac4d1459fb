"""A lost or damaged row of flags opens no direct writes: what was last audited stays in force, and can be written back."""

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema.upgrade import upgrade
from knowledge_migration.knowledge.flag_recovery import examine_flags, restore_flags
from knowledge_migration.knowledge.flags import Flags, FlagsError, history, present_flags, read_flags, set_flags
from knowledge_migration.knowledge.writing.modes import confirmed
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import count, until
from knowledge_migration_tests.recovering import recover
from knowledge_migration_tests.serving import serving
from knowledge_migration_tests.support.flags import change_flags

MESSAGES = """
UPDATE messages SET content = 'Decision: `part-' || id % 25 || '` keeps its audit log in PostgreSQL.'
"""
UNLINKED = "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL"
DIRECT_RUNS = "SELECT count(*) FROM knowledge_extraction_runs WHERE settings ->> 'mode' = 'direct'"
DAMAGED = [
    {"config": {"unknown": 1}, "version": 9},
    {"config": [1], "version": 0},
    {"config": {"dual_write": "yes"}, "version": -5},
]


def have_seen(services: int, mode: str, version: int) -> str:
    """A query: whether so many services have acknowledged this version."""
    return (
        f"SELECT count(*) = {services} FROM migration.writer_heartbeat "  # noqa: S608
        f"WHERE mode = '{mode}' AND flag_version = {version}"
    )


def extract(url: str, first: int) -> str:
    """The mode in which an extraction of three messages was written."""
    body = {"message_ids": [first, first + 1, first + 2], "user_id": 1}
    answer = httpx.post(f"{url}/api/v1/knowledge/extract", json=body, timeout=30)
    assert answer.is_success, answer.text
    return str(answer.json()["mode"])


DELETED = "DELETE FROM feature_flags"
DAMAGE = """UPDATE feature_flags SET enabled = false, config = '"gone"', version = version + 5"""


def test_nobody_writes_directly_while_the_flags_are_lost_and_everybody_obeys_them_mended(
    peopled: Database, rows: Connection, tmp_path: Path
) -> None:
    rows.execute(MESSAGES)
    change_flags(peopled, {"dual_write": True})
    with ExitStack() as running:
        urls = [running.enter_context(serving(peopled))]
        assert extract(urls[0], 1) == "dual_write"
        for number, accident in enumerate((DELETED, DAMAGE), start=1):
            seen = count(rows, "SELECT version FROM feature_flags")
            rows.execute(accident)
            urls.append(running.enter_context(serving(peopled)))
            first = 50 * number
            assert {extract(url, first + 10 * place) for place, url in enumerate(urls)} == {"dual_write"}
            until(rows, have_seen(len(urls), "dual_write", seen))
            assert (count(rows, UNLINKED), count(rows, DIRECT_RUNS)) == (0, 0)

            tried = recover(peopled, "flags", "--reason", "an accident", "--dry-run", home=tmp_path)
            assert (tried.returncode, '"dual_write": true' in tried.stdout) == (0, True), tried.stderr
            until(rows, have_seen(len(urls), "dual_write", seen))
            done = recover(peopled, "flags", "--reason", "an accident", "--yes", home=tmp_path)
            assert (done.returncode, "state dual_write" in done.stdout) == (0, True), done.stderr
            version = count(rows, "SELECT version FROM feature_flags WHERE config ->> 'dual_write' = 'true'")
            assert version > seen
            until(rows, have_seen(len(urls), "dual_write", version))
        change_flags(peopled, {"enabled": True, "cutover_percentage": 100})
        until(rows, have_seen(len(urls), "full", version + 1))
        assert {extract(url, 151 + 10 * place) for place, url in enumerate(urls)} == {"proposal"}
    assert (count(rows, UNLINKED), count(rows, DIRECT_RUNS)) == (0, 0)
    again = recover(peopled, "flags", "--reason", "an accident", "--yes", home=tmp_path)
    assert "nothing to recover" in again.stdout


def test_a_process_that_knows_newer_flags_than_the_audit_log_keeps_them(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})
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
    known = change_flags(peopled, {"dual_write": True})
    rows.execute("DELETE FROM feature_flags; DROP SCHEMA migration CASCADE")
    with peopled.begin() as transaction:
        assert confirmed(transaction, known) == known
        assert transaction.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_flags_that_were_given_up_with_the_schema_do_not_come_back_with_it(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})
    rollback_schema(peopled, SchemaChangeSettings(), reason="a test")
    upgrade(peopled, SchemaChangeSettings())
    with peopled.begin() as transaction:
        assert read_flags(transaction) is None
        with pytest.raises(FlagsError, match="no flags to restore"):
            restore_flags(transaction, actor="a test", reason="to see")
    assert change_flags(peopled, {"cutover_percentage": 1}) == Flags(cutover_percentage=1, version=2)


def test_a_lost_row_does_not_unlock_the_retired_paths(peopled: Database, rows: Connection) -> None:
    full = {"enabled": True, "dual_write": False, "cutover_percentage": 100, "legacy_paths_retired": True}
    change_flags(peopled, full)
    rows.execute("DELETE FROM feature_flags")
    for reset in (False, True):
        with pytest.raises(FlagsError, match="phase 5"):
            change_flags(peopled, {"enabled": False}, reset=reset)


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_row_is_kept_on_record_and_the_version_goes_on(
    peopled: Database, rows: Connection, damaged: dict[str, Any]
) -> None:
    change_flags(peopled, {"cutover_percentage": 3})
    change_flags(peopled, {"dual_write": True})
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
        Flags(cutover_percentage=3, dual_write=True, version=max(3, damaged["version"]) + 1),
    )
    assert (entry["before"]["version"], entry["after"], entry["reason"]) == (
        max(3, damaged["version"]),
        {**after.values, "version": after.version},
        "to see",
    )


def test_a_row_that_can_be_read_is_left_alone_and_one_past_the_audit_log_is_told(
    peopled: Database, rows: Connection, tmp_path: Path
) -> None:
    change_flags(peopled, {"dual_write": True})
    rows.execute("""UPDATE feature_flags SET config = config || '{"cutover_percentage": 9}'""")
    before = rows.execute("SELECT * FROM feature_flags").fetchall()
    done = recover(peopled, "flags", "--reason", "to see", "--yes", home=tmp_path)
    assert (done.returncode, "past the audit log" in done.stdout) == (0, True)
    assert rows.execute("SELECT * FROM feature_flags").fetchall() == before


def test_of_several_who_mend_and_change_at_once_nobody_overwrites_a_later_change(
    peopled: Database, rows: Connection
) -> None:
    change_flags(peopled, {"dual_write": True})
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
