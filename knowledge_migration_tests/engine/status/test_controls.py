"""The controls: flags, processes, the backfill's controls and the audit trail; a part that may not be read is named."""

import uuid
from collections.abc import Iterator

import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from knowledge_migration.engine.backfill.control import set_control
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.status import audit_trail
from knowledge_migration.engine.status.audit_trail import read_page
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.engine.status.snapshot import CONTROLS, read_status
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.engine.status.reading import RULES


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


def read_controls(database: Database, previous: StatusSnapshot | None = None) -> StatusSnapshot:
    """The controls now."""
    return read_status(database, RULES, parts=CONTROLS, trail=previous.trail if previous else None)


def said(database: Database, *actions: str) -> None:
    """Writes entries to the audit log."""
    with database.connect("test") as connection:
        for action in actions:
            audit.record(connection, action, "a thing", after={"n": 1}, actor="somebody")


def test_before_phase_0_nothing_is_there_and_nothing_is_refused(database: Database) -> None:
    snapshot = read_controls(database)
    assert (snapshot.flags, snapshot.writers, snapshot.control, snapshot.trail, snapshot.unreadable) == (
        None,
        (),
        None,
        None,
        {},
    )


def test_it_shows_flags_controls_and_the_newest_entries(expanded: Database) -> None:
    stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO users (id, first_name, last_name, is_active, is_bot) VALUES (300, 'Ada', 'Lovelace', true, false)"
        )
        set_control(connection, paused=True, actor="admin on the page, user 300", reason="load")
    snapshot = read_controls(expanded)
    assert snapshot.flags is not None
    assert (snapshot.flags.state, snapshot.flags.changed_by) == ("rollout", "a test")
    assert snapshot.control is not None
    assert (snapshot.control.paused, snapshot.control.changed_by) == (True, "Ada Lovelace (admin on the page)")
    assert snapshot.trail is not None
    newest = snapshot.trail.steps.entries[0]
    assert (newest.actor, newest.who) == ("admin on the page, user 300", "Ada Lovelace (admin on the page)")
    assert (newest.action, newest.reason, newest.before["paused"], newest.after["paused"]) == (
        "set backfill control", "load", False, True,
    )  # fmt: skip


def test_the_trail_is_read_again_only_when_something_was_written(expanded: Database) -> None:
    said(expanded, "schema upgrade")
    first = read_controls(expanded)
    second = read_controls(expanded, first)
    assert second.trail is first.trail
    said(expanded, "drop index")
    third = read_controls(expanded, second)
    assert third.trail is not None
    assert [entry.action for entry in third.trail.steps.entries] == ["drop index", "schema upgrade"]


def test_an_entry_of_a_transaction_that_was_open_for_long_is_not_missed(expanded: Database) -> None:
    with expanded.connect("slow") as slow:
        with slow.transaction():
            audit.record(slow, "set flags", "a thing", actor="somebody")
            said(expanded, "recover ledger")
            before = read_controls(expanded)
        after = read_controls(expanded, before)
    assert after.trail is not None
    assert [entry.action for entry in after.trail.steps.entries] == ["recover ledger", "set flags"]


def test_pages_go_on_by_key_and_leave_changes_of_single_rows_out_unless_wanted(
    expanded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "PAGE", 2)
    monkeypatch.setattr(audit_trail, "EXAMINED", 4)
    said(
        expanded, "drop index", "index dropped", "recreate index", *["park proposal"] * 4, "delete row", "correct link"
    )

    def pages(*, with_decisions: bool) -> list[list[str]]:
        snapshot, key = [], None
        with expanded.connect("test") as connection:
            while True:
                page = read_page(connection, key, with_decisions=with_decisions)
                snapshot.append([entry.action for entry in page.entries])
                key = page.older
                if key is None:
                    return snapshot

    park = "park proposal"
    assert pages(with_decisions=False) == [["correct link"], ["recreate index", "index dropped"], ["drop index"]]
    assert pages(with_decisions=True) == [
        ["correct link", "delete row"],
        [park, park],
        [park, park],
        ["recreate index", "index dropped"],
        ["drop index"],
    ]


def test_what_may_not_be_read_is_named_and_the_rest_is_shown(expanded: Database, poor: Database) -> None:
    stand_at(expanded, "internal_beta")
    controls = read_controls(poor)
    assert list(controls.unreadable) == ["processes", "backfill", "audit trail", "flags", "rollout pause"]
    assert all("permission denied" in reason for reason in controls.unreadable.values())
    overview = read_status(poor, RULES)
    assert overview.queues
    assert {"flags", "processes", "evidence"} <= set(overview.unreadable)
    assert any(message.startswith("The evidence cannot be read: permission denied") for message in overview.attention)


def test_flags_that_hold_what_they_cannot_are_named(expanded: Database) -> None:
    stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        connection.execute("UPDATE feature_flags SET config = '[1]'")
    snapshot = read_controls(expanded)
    assert snapshot.flags is None
    assert "holds what flags cannot be" in snapshot.unreadable["flags"]
