"""Since when full cutover is stable: what starts the count, what starts it anew, and what cannot be told."""

from datetime import datetime
from typing import Any

import pytest

from knowledge_migration.engine.cleanup.stability import Stability, stability
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change, in_days


def audited(rows: Connection, action: str) -> list[datetime]:
    """When entries of that action were written."""
    query = "SELECT at FROM migration.audit_log WHERE action = %(action)s ORDER BY id"
    return [row["at"] for row in rows.execute(query, {"action": action}).fetchall()]


def after(database: Database, days: float) -> Stability:
    return stability(database, required_days=14, now=in_days(days))


def test_the_count_begins_with_full_cutover(full: Database, rows: Connection) -> None:
    assert after(full, 14.1).is_reached
    early = after(full, 11)
    assert (early.is_reached, round(early.missing_days, 1)) == (False, 3.0)
    assert early.since == audited(rows, "set flags")[0]
    assert "3.0 of the required 14 days are missing" in early.sentence


def test_a_change_that_stays_at_full_cutover_does_not_begin_anew(full: Database, rows: Connection) -> None:
    change(full, {"dual_write": False, "auto_approve_threshold": 0.9})
    assert after(full, 15).since == audited(rows, "set flags")[0]


@pytest.mark.parametrize(
    ("left", "state"),
    [
        ({"enabled": False}, "dual_write"),
        ({"cutover_percentage": 99}, "rollout"),
        ({"audience": "admins"}, "rollout"),
    ],
)
def test_a_change_that_leaves_full_cutover_begins_anew(
    full: Database, rows: Connection, left: dict[str, Any], state: str
) -> None:
    change(full, left, reason="errors")
    gone = after(full, 30)
    assert (gone.since, gone.is_reached) == (None, False)
    assert gone.broken_by
    assert gone.broken_by.change == f"flags set to state {state}"
    assert gone.broken_by.reason == "errors"
    change(full, FULL)
    assert after(full, 30).since == audited(rows, "set flags")[2]
    assert str(after(full, 1).broken_by) in after(full, 1).sentence


@pytest.mark.parametrize("action", ["rollback backfill begun", "rollback dual write", "rollback instant"])
def test_a_rollback_begins_anew(full: Database, rows: Connection, action: str) -> None:
    audit.record(rows, action, "phase 3", reason="it was wrong", actor="an operator")
    found = after(full, 30)
    assert found.since == audited(rows, action)[0]
    assert found.broken_by
    assert (found.broken_by.change, found.broken_by.actor) == (f"{action} (phase 3)", "an operator")


def test_entries_that_are_no_rollback_change_nothing(full: Database, rows: Connection) -> None:
    for action in ("override rehearsal", "schema upgrade", "approve proposal"):
        audit.record(rows, action, "phase 4")
    assert after(full, 15).since == audited(rows, "set flags")[0]
    assert after(full, 15).broken_by is None


def test_flags_that_nobody_has_set_tell_nothing(expanded: Database) -> None:
    found = after(expanded, 100)
    assert not found.is_reached
    assert "The flags were never set" in found.sentence


def test_flags_changed_beside_the_audited_function_tell_nothing(full: Database, rows: Connection) -> None:
    rows.execute("UPDATE feature_flags SET config = config || '{\"cutover_percentage\": 50}'")
    found = after(full, 100)
    assert not found.is_reached
    assert "without the audited function" in found.sentence


def test_flags_switched_off_and_on_beside_the_audited_function_begin_the_count_anew(
    full: Database, rows: Connection
) -> None:
    began = after(full, 100).since
    for percentage in (0, 100):
        rows.execute(
            "UPDATE feature_flags SET config = jsonb_set(config, '{cutover_percentage}', to_jsonb(%(to)s::int))",
            {"to": percentage},
        )
    assert not after(full, 100).is_reached
    change(full, {"auto_approve_threshold": 0.9})
    found = after(full, 100)
    assert found.since is not None
    assert began is not None
    assert found.since > began
    assert "without the audited function" in found.sentence


def test_an_entry_that_cannot_be_read_is_no_full_cutover(full: Database, rows: Connection) -> None:
    rows.execute(
        "INSERT INTO migration.audit_log (actor, action, subject, after, reason) "
        "VALUES ('x', 'set flags', 'knowledge_proposals', '{\"cutover_percentage\": \"all\"}', 'by hand')"
    )
    found = after(full, 100)
    assert not found.is_reached
    assert found.since is None
