"""The quick look shows flags, processes, controls and the audit trail; what may not be read is named, by the whole look too."""

import uuid
from collections.abc import Iterator

import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from knowledge_migration.engine.backfill.control import set_control
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.status import audit_trail
from knowledge_migration.engine.status.audit_trail import page_of
from knowledge_migration.engine.status.controls import read_controls
from knowledge_migration.engine.status.reader import read_status
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.engine.status.test_reader import RULES


@pytest.fixture
def poor(expanded: Database) -> Iterator[Database]:
    """The database as a role sees it that may read the application's tables and nothing of the migration's."""
    role = f"poor_{uuid.uuid4().hex[:12]}"
    with expanded.connect("test") as connection:
        name = sql.Identifier(role)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(name))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(name))
    yield Database(make_url(expanded.url).set(username=role, password="x").render_as_string(hide_password=False))
    with expanded.connect("test") as connection:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(name))


def said(database: Database, *actions: str) -> None:
    """Writes entries to the audit log."""
    with database.connect("test") as connection:
        for action in actions:
            audit.record(connection, action, "a thing", after={"n": 1}, actor="somebody")


def test_before_phase_0_nothing_is_there_and_nothing_is_refused(database: Database) -> None:
    found = read_controls(database, 10)
    assert (found.flags, found.writers, found.control, found.trail, found.unreadable) == (None, None, None, None, ())


def test_it_shows_flags_controls_and_the_newest_entries(expanded: Database) -> None:
    stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        set_control(connection, paused=True, actor="an operator", reason="load")
    found = read_controls(expanded, 10)
    assert found.flags is not None
    assert (found.flags.state, found.flags.changed_by) == ("rollout", "a test")
    assert found.control is not None
    assert (found.control.paused, found.control.changed_by) == (True, "an operator")
    assert found.trail is not None
    newest = found.trail.steps.entries[0]
    assert (newest.action, newest.reason, newest.before["paused"], newest.after["paused"]) == (
        "set backfill control", "load", False, True,
    )  # fmt: skip


def test_the_trail_is_read_again_only_when_something_was_written(expanded: Database) -> None:
    said(expanded, "schema upgrade")
    first = read_controls(expanded, 10)
    second = read_controls(expanded, 10, first)
    assert second.trail is first.trail
    said(expanded, "drop index")
    third = read_controls(expanded, 10, second)
    assert third.trail is not None
    assert [entry.action for entry in third.trail.steps.entries] == ["drop index", "schema upgrade"]


def test_an_entry_of_a_transaction_that_was_open_for_long_is_not_missed(expanded: Database) -> None:
    with expanded.connect("slow") as slow:
        with slow.transaction():
            audit.record(slow, "set flags", "a thing", actor="somebody")
            said(expanded, "recover ledger")
            before = read_controls(expanded, 10)
        after = read_controls(expanded, 10, before)
    assert after.trail is not None
    assert [entry.action for entry in after.trail.steps.entries] == ["recover ledger", "set flags"]


def test_pages_go_on_by_key_and_leave_decisions_out_unless_wanted(
    expanded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "PAGE", 2)
    monkeypatch.setattr(audit_trail, "LOOKED_THROUGH", 4)
    said(expanded, "drop index", "index dropped", "recreate index", *["park proposal"] * 5, "correct link")

    def pages(*, with_decisions: bool) -> list[list[str]]:
        found, key = [], None
        with expanded.connect("test") as connection:
            while True:
                page = page_of(connection, key, with_decisions=with_decisions)
                found.append([entry.action for entry in page.entries])
                key = page.older
                if key is None:
                    return found

    park = "park proposal"
    assert pages(with_decisions=False) == [["correct link"], ["recreate index", "index dropped"], ["drop index"]]
    assert pages(with_decisions=True) == [
        ["correct link", park],
        [park, park],
        [park, park],
        ["recreate index", "index dropped"],
        ["drop index"],
    ]


def test_what_may_not_be_read_is_named_and_the_rest_is_shown(expanded: Database, poor: Database) -> None:
    stand_at(expanded, "internal_beta")
    quick = read_controls(poor, 10)
    assert [part for part, _ in quick.unreadable] == ["processes", "backfill", "audit trail", "flags"]
    assert all("permission denied" in why for _, why in quick.unreadable)
    whole = read_status(poor, RULES, None)
    assert whole.queues
    assert {"flags", "processes", "proofs"} <= {part for part, _ in whole.unreadable}
    assert any(words.startswith("The proofs cannot be read: permission denied") for words in whole.attention)


def test_flags_that_hold_what_they_cannot_are_named(expanded: Database) -> None:
    stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        connection.execute("UPDATE feature_flags SET config = '[1]'")
    found = read_controls(expanded, 10)
    assert found.flags is None
    assert "holds what flags cannot be" in dict(found.unreadable)["flags"]
