"""What a look says, as rows: the worst first, what is too old called so, and nothing made up where nothing is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from knowledge_migration.engine.status.controls import ControlSnapshot
from knowledge_migration.engine.status.model import Check, FlagState, GateState, Proof, StatusSnapshot, Writer
from knowledge_migration.pages.migration import rows
from knowledge_migration.pages.migration.parts import Badge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING = StatusSnapshot(
    at=NOW, database="", phases=(), flags=None, stage=None, stage_since=None, next_stage=None, gates=(), queues=(),
    queue_limit=3, writers=(), checks=None, proofs=(), attention=(), checks_unseen="Dagster does not run here.",
)  # fmt: skip


def check(name: str, *, passed: bool = False, warns: bool = False, ended: bool = True) -> Check:
    """A check of the asset "a"."""
    return Check("a", name, passed, warns, ended, NOW, f"{name} said so")


def test_failed_checks_come_first_then_broken_ones_warnings_and_the_rest() -> None:
    found = replace(
        NOTHING,
        checks=(check("fine", passed=True), check("warned", warns=True), check("broke", ended=False), check("failed")),
    )
    assert [(row[0], row[1]) for row in rows.checks(found)] == [
        ("a.failed", Badge("failed", "bad")),
        ("a.broke", Badge("not ended", "warning")),
        ("a.warned", Badge("warned", "warning")),
        ("a.fine", Badge("passed", "good")),
    ]
    assert rows.checks_summary(found) == "1 passed, 1 failed, 1 warned, 1 not ended."


def test_checks_that_cannot_be_seen_are_not_said_to_be_none() -> None:
    assert rows.checks_summary(NOTHING) == "Dagster does not run here."
    assert rows.checks_summary(replace(NOTHING, checks=())) == "No check has run yet."


def test_a_proof_is_well_not_well_too_old_or_was_never_made() -> None:
    old, young = NOW - timedelta(hours=30), NOW - timedelta(hours=1)
    found = replace(
        NOTHING,
        proofs=(
            Proof("backup", young, True, "1 MB", 24.0),
            Proof("drill", old, True, "well", 24.0),
            Proof("load test", young, False, "not well", None),
            Proof("rehearsal", None, None, "never", 168.0),
        ),
    )
    assert [row[1] for row in rows.proofs(found)] == [
        Badge("well", "good"),
        Badge("too old", "warning"),
        Badge("not well", "bad"),
        Badge("never made"),
    ]
    assert [row[4] for row in rows.proofs(found)] == ["24 hours", "24 hours", "no limit", "7 days"]


def test_a_gate_shows_value_limit_sample_and_when_or_what_it_was_earlier() -> None:
    found = replace(
        NOTHING,
        gates=(
            GateState("api_error_rate", "fail", 0.51234, "at most 0.01", 400, 300, NOW),
            GateState("queue_depth", "not judged", None, "at most 9", 0, 1, None, "pass at dual_write"),
        ),
    )
    assert rows.gates(found) == [
        ("api error rate", Badge("fail", "bad"), "0.5123", "at most 0.01", "400 of 300", NOW),
        ("queue depth", Badge("not judged"), "", "at most 9", "0 of 1", "earlier: pass at dual write"),
    ]


def test_a_process_that_has_not_seen_the_newest_flags_is_marked() -> None:
    flags = FlagState("dual_write", 7, {}, NOW, "a test", "a test")
    writers = (Writer("new", "dual_write", 7, 0.5), Writer("old", "off", 6, 2.0))
    found = ControlSnapshot(NOW, flags, writers, None, None, ())
    assert [(row[0], row[2], row[3]) for row in rows.processes(found)] == [
        ("new", Badge("version 7", "good"), NOW - timedelta(seconds=0.5)),
        ("old", Badge("still version 6", "warning"), NOW - timedelta(seconds=2)),
    ]
