"""A promotion needs every requirement, names missing ones, and is recorded only once every process has acknowledged it."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knowledge_migration.engine.cutover.promotion import NotReadyError, Promotion, promote
from knowledge_migration.engine.cutover.readiness import CheckRecord, Readiness, readiness
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, PreconditionError
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.settings import FenceSettings, PreparationSettings, Settings
from knowledge_migration.thresholds import Stage
from knowledge_migration_tests.engine.backfill.backfilling import until
from knowledge_migration_tests.engine.cutover.ready import RULES, backed_up, drilled, passed
from knowledge_migration_tests.engine.cutover.stages_reached import (
    acknowledging,
    alive,
    later,
    measured,
    set_,
    stand_at,
)
from knowledge_migration_tests.support.fence_timeouts import BRIEF, PATIENT

NAMES = ("every_topic_has_a_proposal", "every_atom_has_a_proposal")


@pytest.fixture
def ready(ready_template: tuple[Database, datetime]) -> datetime:
    """The time at which every requirement of the internal beta is met, two hours after dual write."""
    return ready_template[1]


@pytest.fixture
def rows(ready_database: Database) -> Iterator[Connection]:
    with ready_database.connect("test") as connection:
        yield connection


def asked(database: Database, at: datetime, stage: Stage = "internal_beta", **options: Any) -> Readiness:
    checks = options.pop("checks", passed(*NAMES, at=at - timedelta(minutes=5)))
    return readiness(database, options.pop("rules", RULES), stage, checks, now=at, **options)


def promoted(database: Database, found: Readiness, timeouts: FenceSettings = BRIEF, **options: Any) -> Promotion:
    return promote(database, Flags(), timeouts, found, reason="a test", **options)


def missing(database: Database, at: datetime, **options: Any) -> list[str]:
    return [one.name for one in asked(database, at, **options).missing]


@pytest.mark.parametrize("after", [None, "[]", '{"enabled": false}', '{"enabled": false, "version": null}'])
def test_an_entry_of_the_audit_log_without_flags_begins_the_stage_again(expanded: Database, after: str | None) -> None:
    stand_at(expanded, "gradual_rollout")
    with expanded.connect("test") as connection:
        row = connection.execute(
            "INSERT INTO migration.audit_log (actor, action, subject, reason, after) "
            "VALUES ('ann', 'set flags', 'knowledge_proposals', 'I corrected something', %s) RETURNING at",
            [after],
        ).fetchone()
    assert row
    state = read_cutover_state(expanded)
    assert (state.state, state.since) == ("gradual_rollout", row["at"])


def test_where_every_requirement_is_met_a_stage_is_promoted_acknowledged_and_recorded(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    found = asked(ready_database, ready)
    assert found.missing == ()
    with acknowledging(ready_database):
        done = promoted(ready_database, found, PATIENT)
    state = read_cutover_state(ready_database)
    assert (state.state, state.flags) == ("internal_beta", done.after)
    assert (done.after.cutover_percentage, done.after.audience, done.after.auto_approve_high_confidence) == (
        10,
        "admins",
        False,
    )
    assert done.processes == ("one",)
    recorded = evidence.latest(rows, "cutover_stage")
    assert recorded
    assert (recorded.content["stage"], recorded.content["flag_version"]) == ("internal_beta", done.after.version)
    actions = [row["action"] for row in rows.execute("SELECT action FROM migration.audit_log ORDER BY id")]
    assert actions[-2:] == ["set flags", "promote internal_beta"]


def test_the_stages_have_the_flags_of_the_strategy_and_dual_write_goes_when_the_window_has_closed(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    found = []
    with acknowledging(ready_database):
        for stage in ("internal_beta", "gradual_rollout", "full_cutover", "full_cutover"):
            done = promoted(ready_database, asked(ready_database, ready, stage), PATIENT, override_reason="a test")
            flags = done.after
            found.append(
                (flags.audience, flags.cutover_percentage, flags.dual_write, flags.auto_approve_high_confidence)
            )
        closed = asked(ready_database, later(days=15), "full_cutover")
        assert closed.window_closed
        final = promoted(ready_database, closed, PATIENT, override_reason="a test").after
    assert found == [
        ("admins", 10, True, False),
        ("everyone", 50, True, True),
        ("everyone", 100, True, True),
        ("everyone", 100, True, True),
    ]
    assert (final.state, final.dual_write) == ("full", False)


def test_a_stage_cannot_be_skipped_even_with_a_reason(ready_database: Database, ready: datetime) -> None:
    for stage in ("gradual_rollout", "full_cutover"):
        with pytest.raises(NotReadyError, match="Next is internal_beta"):
            promoted(ready_database, asked(ready_database, ready, stage), override_reason="in a hurry")
    assert read_cutover_state(ready_database).state == "dual_write"


def test_the_state_before_has_to_bake(ready_database: Database, rows: Connection, ready: datetime) -> None:
    assert "bake time" in missing(ready_database, ready - timedelta(minutes=90))
    assert "bake time" not in missing(ready_database, ready)


def test_every_gate_of_the_stage_has_to_pass_often_enough(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    measured(rows, "GET /topics", errors=500, at=ready - timedelta(seconds=100))
    measured(rows, "pool", pool_timeouts=1, at=ready - timedelta(seconds=100))
    assert missing(ready_database, ready) == ["gate api_error_rate", "gate pool_exhaustion"]


def test_without_any_measurement_nothing_is_promoted(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    rows.execute("DELETE FROM migration.service_measurement; DELETE FROM migration.gate_evaluation")
    assert {"gate api_error_rate", "gate slow_extractions", "gate pool_exhaustion"} <= set(
        missing(ready_database, ready)
    )


def test_gates_that_a_stage_does_not_need_do_not_hold_it_up(ready_database: Database, ready: datetime) -> None:
    found = asked(ready_database, ready)
    assert {one.gate.metric for one in found.evaluations if not one.met} >= {"auto_approval_rate", "review_seconds"}
    assert found.ready


@pytest.mark.parametrize(
    ("succeeded", "minutes_ago", "message"),
    [(False, None, "never run"), (False, 1, "did not pass"), (True, 90, "limit 1.0 h")],
    ids=["missing", "failed", "stale"],
)
def test_a_check_that_is_missing_failed_or_stale_refuses(
    ready_database: Database, ready: datetime, succeeded: bool, minutes_ago: int | None, message: str
) -> None:
    at = None if minutes_ago is None else ready - timedelta(minutes=minutes_ago)
    record = CheckRecord("a check", succeeded, at, "3 rows.")
    (one,) = asked(ready_database, ready, checks=[record]).missing
    assert one.name == "check a check"
    assert message in one.sentence
    assert "validation_integrity" in one.sentence


def test_where_the_checks_are_about_to_be_run_only_a_failed_one_refuses(
    ready_database: Database, ready: datetime
) -> None:
    checks = [CheckRecord("never", False, None), CheckRecord("old", True, later()), CheckRecord("bad", False, later())]
    assert missing(ready_database, ready, checks=checks, ages_matter=False) == ["check bad"]


def test_an_old_or_altered_or_missing_backup_refuses(
    ready_database: Database, rows: Connection, ready: datetime, tmp_path: Path
) -> None:
    (old,) = asked(
        ready_database, ready, rules=RULES.replaced(preparation=PreparationSettings(backup_max_age_hours=1))
    ).missing
    assert (old.name, "Materialize verified_backup again" in old.sentence) == ("verified backup", True)
    path = backed_up(rows, tmp_path)
    path.write_bytes(b"another")
    (altered,) = asked(ready_database, ready).missing
    assert "altered" in altered.sentence
    path.unlink()
    (gone,) = asked(ready_database, ready).missing
    assert "is missing" in gone.sentence


def test_nobody_alive_or_a_direct_writer_refuses_even_with_a_reason(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    rows.execute("UPDATE migration.writer_heartbeat SET mode = 'off'")
    with pytest.raises(NotReadyError, match="one write directly"):
        promoted(ready_database, asked(ready_database, ready), override_reason="no matter")
    rows.execute("DELETE FROM migration.writer_heartbeat")
    with pytest.raises(NotReadyError, match="0 processes of the service are live"):
        promoted(ready_database, asked(ready_database, ready), override_reason="no matter")


def test_dual_write_has_to_be_proven_and_the_backfill_complete(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    rows.execute("DELETE FROM migration.evidence WHERE kind = 'dual_write_fence'")
    rows.execute("UPDATE knowledge_extraction_runs SET status = 'running' WHERE settings ->> 'mode' = 'backfill'")
    assert missing(ready_database, ready) == ["dual write", "backfill"]


def test_an_override_needs_a_reason_and_says_in_the_audit_log_what_it_overrode(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    rows.execute("DELETE FROM migration.evidence WHERE kind = 'rollback_drill'")
    found = asked(ready_database, ready)
    with pytest.raises(NotReadyError, match="give an override reason"):
        promoted(ready_database, found, override_reason="  ")
    with acknowledging(ready_database):
        done = promoted(ready_database, found, PATIENT, override_reason="drilled elsewhere")
    assert done.overridden == ("rollback drill",)
    (entry,) = rows.execute(
        "SELECT reason, after FROM migration.audit_log WHERE action = 'override promotion'"
    ).fetchall()
    assert entry == {"reason": "drilled elsewhere", "after": {"overridden": ["rollback drill"]}}


def test_a_beta_without_admins_is_refused(ready_database: Database, rows: Connection, ready: datetime) -> None:
    set_(ready_database, admin_user_ids=())
    with pytest.raises(PreconditionError, match="KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS"):
        promoted(ready_database, asked(ready_database, ready))
    assert read_cutover_state(ready_database).state == "dual_write"
    with acknowledging(ready_database):
        done = promoted(ready_database, asked(ready_database, ready), PATIENT, admin_user_ids=(7,))
    assert done.after.admin_user_ids == (7,)


def test_flags_that_changed_since_they_were_judged_are_not_overwritten(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    found = asked(ready_database, ready)
    set_(ready_database, auto_approve_threshold=0.9)
    with pytest.raises(PreconditionError, match="somebody changed them"):
        promoted(ready_database, found)
    assert read_cutover_state(ready_database).state == "dual_write"


def test_a_process_that_does_not_acknowledge_is_named_and_the_same_promotion_again_completes_it(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    with pytest.raises(BlockedError, match="one"):
        promoted(ready_database, asked(ready_database, ready))
    assert read_cutover_state(ready_database).state == "internal_beta"
    assert evidence.latest(rows, "cutover_stage") is None
    with acknowledging(ready_database):
        promoted(ready_database, asked(ready_database, ready), PATIENT, override_reason="the same again")
    recorded = evidence.latest(rows, "cutover_stage")
    assert recorded
    assert recorded.content["stage"] == "internal_beta"


def test_a_rollback_while_it_waits_is_not_recorded_as_a_promotion(
    ready_database: Database, rows: Connection, ready: datetime
) -> None:
    found, failures = asked(ready_database, ready), []

    def wait() -> None:
        try:
            promoted(ready_database, found, PATIENT)
        except PreconditionError as error:
            failures.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    until(rows, "SELECT count(*) FROM feature_flags WHERE enabled")
    with pytest.raises(BlockedError):
        roll_back(ready_database, Flags(), Settings(fence=BRIEF), "instant", reason="a breach")
    alive(rows, ready_database, "one")
    thread.join()
    assert ["a rollback" in one for one in failures] == [True]
    assert evidence.latest(rows, "cutover_stage") is None
    assert read_cutover_state(ready_database).state == "dual_write"


def test_two_promotions_at_once_are_one(ready_database: Database, rows: Connection, ready: datetime) -> None:
    found, failures, done = asked(ready_database, ready), [], []

    def go() -> None:
        try:
            done.append(promoted(ready_database, found, PATIENT))
        except (BusyError, PreconditionError) as error:
            failures.append(error)

    with acknowledging(ready_database):
        threads = [threading.Thread(target=go) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(done), len(failures)) == (1, 2)
    entries = rows.execute("SELECT count(*) AS n FROM migration.audit_log WHERE action = 'promote internal_beta'")
    assert entries.fetchone() == {"n": 1}


def test_a_partial_way_back_leads_up_again_through_the_second_stage(ready_database: Database, rows: Connection) -> None:
    stand_at(ready_database, "full_cutover")
    set_(ready_database, cutover_percentage=10)
    assert (read_cutover_state(ready_database).state, read_cutover_state(ready_database).next_stage) == (
        "internal_beta",
        "gradual_rollout",
    )


def test_what_nobody_exposes_does_not_begin_the_bake_time_anew(ready_database: Database) -> None:
    since = stand_at(ready_database, "gradual_rollout").since
    set_(ready_database, auto_approve_threshold=0.9)
    set_(ready_database, admin_user_ids=(5,))
    assert read_cutover_state(ready_database).since == since
    set_(ready_database, cutover_percentage=60)
    assert read_cutover_state(ready_database).since > since


def test_a_drill_that_went_wrong_refuses(ready_database: Database, rows: Connection, ready: datetime) -> None:
    drilled(rows, passed=False)
    assert missing(ready_database, ready) == ["rollback drill"]


@pytest.mark.parametrize("kind", ["partial", "instant"])
def test_a_rollback_while_the_promotion_waits_is_noticed_and_the_stage_is_not_recorded(
    ready_database: Database, rows: Connection, ready: datetime, kind: RollbackKind
) -> None:
    with acknowledging(ready_database):
        promoted(ready_database, asked(ready_database, ready), PATIENT)
        found = asked(ready_database, ready, "gradual_rollout")
        before = evidence.latest(rows, "cutover_stage")
        rolled_back = []

        def clock() -> float:
            """Read once the flags of the stage are set."""
            if not rolled_back:
                rolled_back.append(roll_back(ready_database, Flags(), Settings(fence=PATIENT), kind, reason="errors"))
            return PATIENT.clock()

        with pytest.raises(PreconditionError, match="somebody set the flags to"):
            promoted(
                ready_database,
                found,
                PATIENT.model_copy(update={"clock": clock}),
                override_reason="a test",
            )
    assert len(rolled_back) == 1
    assert evidence.latest(rows, "cutover_stage") == before
