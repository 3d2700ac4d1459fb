"""Indexes are reported as they are, dropped only by name and only where nothing needs them, and can be brought back."""

from typing import Any

import psycopg
import pytest

from knowledge_migration.engine.cleanup import indexes
from knowledge_migration.engine.cleanup.indexes import Maintenance, report_indexes
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, PreconditionError
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import at_the_same_time, count, until
from knowledge_migration_tests.engine.cleanup.process import process
from knowledge_migration_tests.engine.cleanup.retiring import QUICK


def maintain(database: Database, *drop: str, **given: Any) -> Maintenance:
    limits = given.pop("limits", SchemaChangeSettings())
    return indexes.maintain_indexes(database, limits, drop=drop, reason="a test", **given)


def names(rows: Connection) -> set[str]:
    return {index.index for index in report_indexes(rows).indexes}


def test_an_unused_index_is_reported_with_its_size_and_since_when(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    report = report_indexes(rows)
    (found,) = [one for one in report.findings if one.index.index == "idle"]
    assert (found.kind, found.may_be_dropped, found.index.bytes > 0) == ("unused", True, True)
    rows.execute("SELECT pg_stat_reset()")
    assert report_indexes(rows).statistics_since


def test_an_index_that_was_read_is_not_called_unused(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX busy ON messages (author_id)")
    with full.connect("a reader") as reader:
        reader.execute("SET enable_seqscan = off")
        reader.execute("SELECT count(*) FROM messages WHERE author_id = 3")
    until(rows, "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'busy'")
    assert "busy" not in report_indexes(rows).of_kind("unused")


def test_what_refuses_rows_is_never_called_unused(full: Database, rows: Connection) -> None:
    unused = set(report_indexes(rows).of_kind("unused"))
    assert not unused & {"topics_pkey", "ix_topics_name", "idx_topics_migration", "telegram_profiles_user_id_key"}


def test_our_own_are_reported_but_may_not_be_dropped(full: Database, rows: Connection) -> None:
    (found,) = [one for one in report_indexes(rows).findings if one.index.index == "idx_knowledge_runs_creator"]
    assert not found.may_be_dropped
    assert "declared in knowledge.tables" in found.why


SAME = [
    ("(author_id)", True),
    ("(author_id DESC)", False),
    ("(author_id) WHERE analyzed", False),
    ("(author_id) INCLUDE (source_id)", False),
    ("USING hash (author_id)", False),
    ("((author_id + 0))", False),
]


@pytest.mark.parametrize(("definition", "same"), SAME, ids=[words for words, _ in SAME])
def test_a_duplicate_is_the_same_in_everything(full: Database, rows: Connection, definition: str, same: bool) -> None:
    rows.execute("CREATE INDEX a_first ON messages (author_id)")
    rows.execute(f"CREATE INDEX a_second ON messages {definition}")
    report = report_indexes(rows)
    assert report.of_kind("duplicate") == (("a_second",) if same else ())


def test_another_operator_class_or_collation_is_no_duplicate(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX plain ON messages (external_message_id)")
    rows.execute("CREATE INDEX by_pattern ON messages (external_message_id varchar_pattern_ops)")
    rows.execute('CREATE INDEX by_letter ON messages (external_message_id COLLATE "C")')
    assert report_indexes(rows).of_kind("duplicate") == ("plain",)


def test_of_two_that_are_the_same_the_one_that_nothing_needs_is_named(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX aaa ON topics (name)")
    rows.execute("CREATE INDEX zzz ON topics (id)")
    assert set(report_indexes(rows).of_kind("duplicate")) == {"aaa", "zzz"}


def test_an_index_that_another_begins_with_is_a_prefix(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX short ON messages (author_id)")
    rows.execute("CREATE INDEX long ON messages (author_id, source_id)")
    rows.execute("CREATE INDEX middle ON messages (source_id, author_id)")
    rows.execute("CREATE UNIQUE INDEX sole ON messages (external_message_id, author_id)")
    report = report_indexes(rows)
    assert report.of_kind("prefix") == ("ix_messages_external_message_id", "short")
    assert report.of_kind("duplicate") == ()


REFUSED = [
    ("topics_pkey", "primary key"),
    ("ix_topics_name", "unique"),
    ("telegram_profiles_user_id_key", "backs constraint telegram_profiles_user_id_key"),
    ("ix_atoms_title", "declared in knowledge.tables"),
    ("idx_topic_atoms_atom", "declared in knowledge.tables"),
    ("idx_atom_proposals_similar", "declared in knowledge.tables"),
    ("sole", "it refuses rows"),
]


@pytest.mark.parametrize(("name", "why"), REFUSED, ids=[name for name, _ in REFUSED])
def test_what_is_needed_is_refused_and_nothing_else_is_dropped(
    full: Database, rows: Connection, name: str, why: str
) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    rows.execute("CREATE UNIQUE INDEX sole ON messages (external_message_id, author_id)")
    with pytest.raises(PreconditionError, match=f"{name} .*{why}"):
        maintain(full, "idle", name)
    assert {"idle", name} <= names(rows)


def test_a_name_that_never_was_is_refused(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    with pytest.raises(PreconditionError, match="There is no index idx_old_extraction_index"):
        maintain(full, "idle", "idx_old_extraction_index")
    assert "idle" in names(rows)


def test_only_what_is_named_is_dropped_and_its_definition_is_kept(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id DESC) WHERE analyzed")
    rows.execute("CREATE INDEX other ON messages (author_id)")
    done = maintain(full, "idle")
    assert (done.dropped, done.gone_already, done.freed_bytes > 0) == (("idle",), (), True)
    assert ("idle" in names(rows), "other" in names(rows)) == (False, True)
    entry = rows.execute("SELECT before FROM migration.audit_log WHERE action = 'drop index'").fetchone()
    assert entry
    assert entry["before"]["definition"] == (
        "CREATE INDEX idle ON public.messages USING btree (author_id DESC) WHERE analyzed"
    )


def test_a_second_time_it_is_gone_already(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    maintain(full, "idle")
    assert maintain(full, "idle", "idle").gone_already == ("idle",)


def test_a_dry_run_drops_nothing(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    assert maintain(full, "idle", dry_run=True).dropped == ("idle",)
    assert "idle" in names(rows)
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'drop index'") == 0


def test_a_dropped_index_is_brought_back_as_it_was(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX \"Idle 50%\" ON messages (lower(content), author_id DESC) WHERE content LIKE '50%'")
    (before,) = [one.definition for one in report_indexes(rows).indexes if one.index == "Idle 50%"]
    maintain(full, "Idle 50%")
    assert indexes.recreate_index(full, "Idle 50%", SchemaChangeSettings(), reason="it was needed")
    assert [one.definition for one in report_indexes(rows).indexes if one.index == "Idle 50%"] == [before]
    assert not indexes.recreate_index(full, "Idle 50%", SchemaChangeSettings(), reason="again")
    with pytest.raises(PreconditionError, match="was not dropped by this project"):
        indexes.recreate_index(full, "unknown", SchemaChangeSettings(), reason="a test")


def test_a_transaction_in_the_way_is_named_and_readers_go_on(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    with full.connect("a long reader") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages")
        with pytest.raises(BlockedError, match=f"pid {reader.info.backend_pid} .*a long reader"):
            maintain(full, "idle", limits=QUICK)
        with at_the_same_time(lambda: maintain(full, "idle")) as future:
            rows.execute("SET statement_timeout = '2s'")
            rows.execute("UPDATE messages SET analyzed = true WHERE id = 1")
            reader.execute("COMMIT")
            assert future.result(30).dropped == ("idle",)


def test_a_drop_that_was_killed_is_completed_by_a_second(full: Database, rows: Connection) -> None:
    rows.execute("CREATE INDEX idle ON messages (author_id)")
    with full.connect("a long reader") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages")
        with process(full, "drop") as running:
            until(rows, "SELECT count(*) FROM pg_index WHERE NOT indisvalid")
            running.kill()
        reader.execute("COMMIT")
    assert report_indexes(rows).of_kind("invalid") in (("idle",), ())
    until(
        rows,
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'knowledge_migration cleanup%')",
    )
    maintain(full, "idle")
    assert "idle" not in names(rows)


def test_two_operators_at_once_are_told_of_each_other(full: Database) -> None:
    with (
        full.connect("another operator") as other,
        advisory_lock(other, indexes.WORK),
        pytest.raises(BusyError, match="another operator"),
    ):
        maintain(full)


def test_an_invalid_index_is_reported_and_breaks_the_rule(full: Database, rows: Connection) -> None:
    assert indexes.validity_outcome(rows).passed
    rows.execute("INSERT INTO users (first_name, is_active, is_bot) VALUES ('user 1', true, false)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        rows.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON users (first_name)")
    rows.execute("DROP INDEX idx_topic_atoms_atom")
    found = indexes.validity_outcome(rows)
    assert found.sample == (
        {"index": "broken", "problem": "invalid"},
        {"index": "idx_topic_atoms_atom", "problem": "missing"},
    )
    assert report_indexes(rows).of_kind("invalid") == ("broken",)


def test_the_statistics_of_the_planner_are_brought_up_to_date(full: Database, rows: Connection) -> None:
    maintain(full)
    query = "SELECT count(*) FROM pg_class WHERE relname IN ('messages', 'users') AND reltuples = 200"
    assert count(rows, query) == 1


def test_it_reads_every_supported_version(any_expanded: Database) -> None:
    with any_expanded.connect("test") as connection:
        assert indexes.validity_outcome(connection).passed
        assert report_indexes(connection).of_kind("invalid") == ()
