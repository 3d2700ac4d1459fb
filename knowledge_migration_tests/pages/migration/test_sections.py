"""The rows of the page's tables: the most severe first, and no value where none was read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.status.model import EvidenceState, FlagState, GateState, StatusSnapshot, Writer
from knowledge_migration.pages.migration import sections
from knowledge_migration.pages.migration.widgets import Badge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING = StatusSnapshot(NOW, "", queue_limit=3)


def check(name: str, *, passed: bool = False, warns: bool = False) -> CheckRecord:
    """A check of the asset "a"."""
    return CheckRecord(name, passed, NOW, f"{name} said so", warns, "a")


def test_failed_checks_come_first_then_warnings_and_the_rest() -> None:
    snapshot = replace(
        NOTHING,
        checks=(check("fine", passed=True), check("warned", warns=True), check("failed")),
    )
    assert [(row[0], row[1]) for row in sections.checks(snapshot)] == [
        ("a.failed", Badge("failed", "bad")),
        ("a.warned", Badge("warned", "warning")),
        ("a.fine", Badge("passed", "good")),
    ]
    assert sections.checks_summary(snapshot) == "1 passed, 1 warned, 1 failed."


def test_checks_that_are_not_available_are_not_shown_as_none() -> None:
    assert sections.checks_summary(NOTHING) == "No check has run yet."


def test_evidence_is_valid_not_valid_too_old_or_none_yet() -> None:
    old, young = NOW - timedelta(hours=30), NOW - timedelta(hours=1)
    snapshot = replace(
        NOTHING,
        evidence=(
            EvidenceState("verified_backup", "backup", young, True, "1 MB", 24.0),
            EvidenceState("rollback_drill", "drill", old, True, "valid", 24.0),
            EvidenceState("load_test", "load test", young, False, "not valid", None),
            EvidenceState("staging_rehearsal", "rehearsal", None, None, "none yet", 168.0),
        ),
    )
    assert [row[1] for row in sections.evidence(snapshot)] == [
        Badge("valid", "good"),
        Badge("too old", "warning"),
        Badge("not valid", "bad"),
        Badge("none yet"),
    ]
    assert [row[4] for row in sections.evidence(snapshot)] == ["24 hours", "24 hours", "no limit", "7 days"]


def test_a_gate_shows_value_limit_sample_and_when_or_what_it_was_earlier() -> None:
    snapshot = replace(
        NOTHING,
        gates=(
            GateState("api_error_rate", "fail", 0.51234, "at most 0.01", 400, 300, NOW),
            GateState("queue_depth", "not evaluated", None, "at most 9", 0, 1, None, "pass at dual_write"),
        ),
    )
    assert sections.gates(snapshot) == [
        ("api error rate", Badge("fail", "bad"), "51 %", "at most 0.01", "400 of 300", NOW),
        ("queue depth", Badge("not evaluated"), "", "at most 9", "0 of 1", "earlier: pass at dual write"),
    ]


def test_a_process_that_has_not_seen_the_newest_flags_is_marked() -> None:
    flags = FlagState("dual_write", 7, {}, NOW, "a test", "a test")
    writers = (Writer("new", "dual_write", 7, 0.5), Writer("old", "off", 6, 2.0))
    snapshot = StatusSnapshot(NOW, "", 3, flags=flags, writers=writers)
    assert [(row[0], row[2], row[3]) for row in sections.processes(snapshot)] == [
        ("new", Badge("version 7", "good"), NOW - timedelta(seconds=0.5)),
        ("old", Badge("still version 6", "warning"), NOW - timedelta(seconds=2)),
    ]
