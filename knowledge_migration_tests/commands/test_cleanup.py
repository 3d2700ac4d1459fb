"""`knowledge-migration cleanup` as an operator types it: what it says, what a dry run leaves alone, what needs a reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from knowledge_migration.commands.cleanup import app
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.settings import SettingsError
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change
from knowledge_migration_tests.support.environment import name_database


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The settings name the test's database at full cutover; no service runs, and somebody says so."""
    name_database(monkeypatch, expanded, tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS", "true")
    change(expanded, FULL)
    return expanded


@pytest.fixture
def rows(named: Database) -> Iterator[Connection]:
    """A session to look at what is there."""
    with named.connect("test") as connection:
        yield connection


def said(*words: str) -> str:
    """What the command says; raises what it raises."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def constraints(rows: Connection) -> int:
    return count(rows, "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%%come_from_proposals'")


def test_status_says_how_far_it_is(named: Database) -> None:
    words = said("status")
    assert "days are missing" in words
    assert "The old paths are open." in words
    assert "comes from a proposal: missing" in words


def test_retire_is_refused_early_and_a_dry_run_changes_nothing(named: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="--override"):
        said("retire", "--reason", "x", "--yes")
    assert "Would do nothing" in said("retire", "--reason", "x", "--dry-run")
    assert "Would retire" in said("retire", "--reason", "x", "--override", "y", "--dry-run")
    assert constraints(rows) == 0


def test_the_settings_of_the_job_are_those_of_the_commands(
    named: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, created_at) "
        "VALUES ('completed', '[]', 0, now() - interval '40 days')"
    )
    assert "of the required 14 days are missing" in said("status")
    assert "Would move 1 runs" in said("archive", "--reason", "x", "--dry-run")
    monkeypatch.setenv("CLEANUP_STABLE_DAYS", "0")
    monkeypatch.setenv("ARCHIVE_OLDER_THAN_DAYS", "50")
    assert "(required: 0)" in said("status")
    assert "Would move 0 runs" in said("archive", "--reason", "x", "--dry-run")
    assert "Would move 1 runs" in said("archive", "--reason", "x", "--dry-run", "--older-than-days", "30")
    assert "Would retire" in said("retire", "--reason", "x", "--dry-run")
    assert "in: topics, atoms" in said("retire", "--reason", "x", "--yes")


def test_an_age_that_no_date_has_is_refused(named: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in ("1000000", "inf", "nan"):
        done = CliRunner().invoke(app, ["archive", "--reason", "x", "--older-than-days", days])
        assert (done.exit_code, "older-than-days" in done.output) == (2, True), days
    monkeypatch.setenv("ARCHIVE_OLDER_THAN_DAYS", "1000000")
    with pytest.raises(SettingsError, match=r"ARCHIVE_OLDER_THAN_DAYS .* less than or equal to 36500"):
        said("archive", "--reason", "x", "--dry-run")


def test_retire_and_reopen(named: Database, rows: Connection) -> None:
    assert "in: topics, atoms" in said("retire", "--reason", "x", "--override", "agreed", "--yes")
    assert "The old paths are retired." in said("status")
    assert "tables with the rule: topics, atoms" in said("reopen", "--reason", "x", "--dry-run")
    assert constraints(rows) == 2
    assert "rules dropped: topics, atoms" in said("reopen", "--reason", "x", "--yes")
    assert constraints(rows) == 0


def test_a_table_is_left_out_by_name(named: Database, rows: Connection) -> None:
    assert "in: atoms" in said("retire", "--reason", "x", "--override", "y", "--without", "topics", "--yes")
    assert constraints(rows) == 1


def test_archive_and_restore(named: Database, rows: Connection) -> None:
    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, created_at) "
        "VALUES ('completed', '[]', 0, now() - interval '40 days'), ('running', '[]', 0, now() - interval '40 days')"
    )
    assert "Would move 1 runs" in said("archive", "--reason", "x", "--dry-run")
    words = said("archive", "--reason", "x")
    assert "Moved 1 runs" in words
    assert "1 runs stay: not over." in words
    row = rows.execute("SELECT id FROM knowledge_extraction_archive").fetchone()
    assert row
    assert "is restored" in said("archive", "--reason", "x", "--restore", str(row["id"]))
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs") == 2


def test_indexes_report_drop_and_recreate(named: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    assert "idle" in said("indexes")
    with pytest.raises(PreconditionError, match="--reason"):
        said("indexes", "--drop", "idle")
    assert "Would drop: idle" in said("indexes", "--drop", "idle", "--reason", "x", "--dry-run")
    assert "Dropped: idle" in said("indexes", "--drop", "idle", "--reason", "x")
    assert "idle is rebuilt" in said("indexes", "--recreate", "idle", "--reason", "x")
    assert count(rows, "SELECT count(*) FROM pg_class WHERE relname = 'idle'") == 1
