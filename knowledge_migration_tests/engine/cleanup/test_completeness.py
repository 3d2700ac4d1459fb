"""The rule of completeness: what it refuses to begin with, that readers go on, and that the ways back still work beside it."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from knowledge_migration.engine.backfill import completion, quarantine
from knowledge_migration.engine.cleanup import completeness
from knowledge_migration.engine.cleanup.completeness import enforce, states
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC
from knowledge_migration.knowledge.writing.shadow import repair_next
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    at_the_same_time,
    backfill,
    broken_rules,
    count,
    fill,
    legacy_values,
    until,
)
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change, reopen, retire

BOTH = {"topics": "validated", "atoms": "validated"}


@pytest.fixture
def filled(full: Database) -> Database:
    """With backfilled topics and atoms of every oddity."""
    fill(full)
    backfill(full)
    return full


def test_after_the_backfill_it_holds_for_every_row(filled: Database, rows: Connection) -> None:
    retire(filled)
    assert states(rows) == BOTH
    assert broken_rules(rows) == {}


def test_rows_without_a_proposal_are_named_with_what_to_do(full: Database, rows: Connection) -> None:
    fill(full)
    with pytest.raises(PreconditionError) as refused:
        retire(full)
    assert "60 rows of topics have no proposal: 1, 2, 3" in str(refused.value)
    assert "and 40 more" in str(refused.value)
    assert "400 rows of atoms" in str(refused.value)
    assert "backfill_completion" in str(refused.value)
    backfill(full)
    retire(full)
    assert states(rows) == BOTH


def test_accepted_quarantine_has_to_be_resolved_or_left_out_by_name(full: Database, rows: Connection) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, confidence, user_approved) VALUES ('insight', 'a', '', 7, false)"
    )
    backfill(full)
    quarantine.decide(rows, "atom", [1], "accept", note="it stays")
    completion.complete(full, QUICK)
    with pytest.raises(PreconditionError, match=r"1 rows of atoms have no proposal: 1 \(quarantine: accepted\)"):
        retire(full)
    retire(full, without=["atoms"])
    assert states(rows) == {"topics": "validated", "atoms": "missing"}
    rows.execute("UPDATE atoms SET content = 'its user edits it'")


def test_a_row_that_slips_in_before_it_is_proven_is_found_and_nobody_is_refused(
    filled: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    retire(filled, without=["topics", "atoms"])
    rows.execute("INSERT INTO topics (name, description) VALUES ('slipped in', '')")
    with monkeypatch.context() as patch:
        looks = iter([lambda *_: None, completeness.require_complete])

        def too_early_once(*args: Any) -> None:
            next(looks)(*args)

        patch.setattr(completeness, "require_complete", too_early_once)
        with pytest.raises(PreconditionError, match="1 rows of topics have no proposal: 61"):
            enforce(rows, TOPIC, SchemaChangeSettings(), reason="a test")
    assert states(rows)["topics"] == "missing"
    rows.execute("UPDATE topics SET description = 'its user edits it' WHERE id = 61")


def test_it_is_not_added_while_the_old_paths_are_open(filled: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="knowledge-migration cleanup retire"):
        enforce(rows, ATOM, SchemaChangeSettings(), reason="a test")
    assert states(rows)["atoms"] == "missing"


def test_a_constraint_of_that_name_that_is_not_ours_is_refused(filled: Database, rows: Connection) -> None:
    rows.execute("ALTER TABLE topics ADD CONSTRAINT topics_come_from_proposals CHECK (name <> '')")
    with pytest.raises(PreconditionError, match="is not ours"):
        retire(filled)


def test_readers_and_writers_go_on_while_it_waits_for_a_long_reader(filled: Database, rows: Connection) -> None:
    retire(filled, without=["topics", "atoms"])
    limits = SchemaChangeSettings(
        lock_timeout_ms=50, attempts=10_000, retry_max_seconds=0.01, blocker_age_seconds=3_600
    )
    with filled.connect("a long reader") as reader, filled.connect("adding") as adding:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM topics")
        with at_the_same_time(lambda: enforce(adding, TOPIC, limits, reason="a test")) as future:
            rows.execute("SET statement_timeout = '10s'")
            until(rows, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            for _ in range(50):
                rows.execute("SELECT FROM topics WHERE id = 1")
                rows.execute("UPDATE topics SET description = description WHERE id = 1")
            assert not future.done()
            reader.execute("COMMIT")
            assert future.result() == "missing"
    assert states(rows)["topics"] == "validated"


def test_the_schema_is_as_declared_and_can_be_upgraded_again(filled: Database, rows: Connection) -> None:
    retire(filled)
    assert proposal_differences(filled) == []
    assert not schema.upgrade(filled, SchemaChangeSettings()).changed
    assert states(rows) == BOTH


def test_a_schema_rollback_drops_it_with_its_column(filled: Database, rows: Connection, tmp_path: Path) -> None:
    before = legacy_values(rows)
    retire(filled)
    with pytest.raises(PreconditionError, match="Proposals are enabled"):
        rollback_schema(filled, SchemaChangeSettings(), reason="a test", export_to=tmp_path / "export.jsonl")
    rows.execute("UPDATE feature_flags SET enabled = false")  # a reopening would drop the constraint before
    rollback_schema(filled, SchemaChangeSettings(), reason="a test", export_to=tmp_path / "export.jsonl")
    assert count(rows, "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%%come_from_proposals'") == 0
    rows.execute("INSERT INTO topics (name, description) VALUES ('direct again', '')")
    rows.execute("DELETE FROM topics WHERE name = 'direct again'")
    assert legacy_values(rows) == before
    assert schema.upgrade(filled, SchemaChangeSettings()).changed
    assert proposal_differences(filled) == []


def test_a_rollback_of_the_backfill_is_refused_until_the_paths_are_open(filled: Database, rows: Connection) -> None:
    retire(filled)
    with pytest.raises(PreconditionError, match="knowledge-migration cleanup reopen"):
        rollback_backfill(filled, reason="a test", limits=QUICK)
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 60
    reopen(filled)
    assert rollback_backfill(filled, reason="a test", limits=QUICK).unlinked_rows == {"topics": 60, "atoms": 400}


def test_a_link_is_not_taken_away_any_more(filled: Database, rows: Connection) -> None:
    retire(filled)
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.execute("UPDATE topics SET migrated_from_proposal_id = NULL WHERE id = 1")


def test_it_works_on_every_supported_version(any_expanded: Database) -> None:
    change(any_expanded, FULL)
    retire(any_expanded)
    with any_expanded.connect("test") as connection:
        assert states(connection) == BOTH


def test_a_failed_shadow_whose_row_has_its_proposal_by_now_is_still_repaired(
    filled: Database, rows: Connection
) -> None:
    rows.execute(
        "INSERT INTO migration.shadow_failure (process, reason, content) "
        """VALUES ('p', 'r', '{"manual_edit": "topic", "id": 1}')"""
    )
    retire(filled)
    before = legacy_values(rows), count(rows, "SELECT count(*) FROM topic_proposals")
    with filled.begin() as transaction:
        assert repair_next(transaction)
    assert (legacy_values(rows), count(rows, "SELECT count(*) FROM topic_proposals")) == before
