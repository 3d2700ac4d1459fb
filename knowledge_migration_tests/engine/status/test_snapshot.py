"""The state of the migration: every part is read, large tables are estimated, and problems need attention."""

import json
import threading

import pytest

from knowledge_migration.engine.backfill.control import set_control
from knowledge_migration.engine.backfill.plan import make_plan
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation import check_record, evidence
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Database, UnreachableError
from knowledge_migration.engine.status import backfill as progress
from knowledge_migration.engine.status.model import Phase, StatusSnapshot
from knowledge_migration.engine.status.snapshot import read_status
from knowledge_migration.settings import BackfillSettings, DualWriteSettings
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.engine.status.reading import RULES


def phase(snapshot: StatusSnapshot, number: int) -> Phase:
    """The phase of that number."""
    return snapshot.phases[number]


@pytest.fixture
def checked(expanded: Database) -> Database:
    """A database with check records."""
    with expanded.connect("test") as connection:
        for name, passed, warns in (
            ("rows_are_equal", True, False),
            ("nothing_is_lost", False, False),
            ("it_is_quick", False, True),
            ("rows_are_equal", False, False),
        ):
            one = CheckRecord(name, passed, None, f"{name} said so", warns, "part/table")
            check_record.record(connection, [one], dagster_run_id=None)
    return expanded


def test_a_legacy_database_has_begun_nothing(database: Database) -> None:
    snapshot = read_status(database, RULES)
    assert [one.state for one in snapshot.phases] == ["not begun"] * 6
    assert (snapshot.flags, snapshot.stage, snapshot.gates, snapshot.queues, snapshot.writers, snapshot.attention) == (
        None, None, (), (), (), (),
    )  # fmt: skip
    assert {(item.valid, item.message) for item in snapshot.evidence} == {(None, "none yet")}


def test_a_backfill_under_way_shows_its_share_and_its_end(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        open_run(connection)
        plan = make_plan(connection, partition_rows=100, max_partitions=200)["atom"]
    first = plan.partitions[0]
    backfill_partition(expanded, first, BackfillSettings(batch_size=10, rate_limit_per_second=0))
    idle = phase(read_status(expanded, RULES), 3)
    assert (idle.state, idle.eta_seconds) == ("under way", None)
    assert "no runner" in idle.message
    assert idle.share is not None
    assert 0 < idle.share < 1
    seen: list[StatusSnapshot] = []
    read = threading.Event()

    def report(progress: object) -> None:
        if not read.is_set():
            seen.append(read_status(expanded, RULES))
            read.set()

    backfill_partition(
        expanded, plan.partitions[1], BackfillSettings(batch_size=10, rate_limit_per_second=0), on_progress=report
    )
    busy = phase(seen[0], 3)
    assert "1 runner, " in busy.message
    assert busy.eta_seconds is not None
    assert busy.eta_seconds > 0


def test_a_paused_backfill_says_so_and_has_no_estimated_end(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        plan = make_plan(connection, partition_rows=100, max_partitions=200)["atom"]
        seen: list[Phase] = []

        def report(progress: object) -> None:
            set_control(connection, paused=True, actor="a test")
            seen.append(phase(read_status(expanded, RULES), 3))
            set_control(connection, paused=False, actor="a test")

        backfill_partition(expanded, plan.partitions[0], BackfillSettings(rate_limit_per_second=0), on_progress=report)
    assert {(one.state, one.eta_seconds) for one in seen} == {("under way", None)}
    assert all(one.message.endswith("1 runner, paused by the operator") for one in seen)


def test_the_speed_of_a_closed_loop_is_shown_with_its_reason(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        plan = make_plan(connection, partition_rows=100, max_partitions=200)["atom"]
    seen: list[StatusSnapshot] = []

    def report(progress: object) -> None:
        seen.append(read_status(expanded, RULES, parts=("phases", "speed")))

    limits = BackfillSettings(batch_size=10, signal_limits={"slot_wal": {"soft": -1}}, disabled_signals=["canary"])
    with expanded.connect("test") as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('idle', true)")
        try:
            backfill_partition(expanded, plan.partitions[0], limits, on_progress=report)
        finally:
            connection.execute("SELECT pg_drop_replication_slot('idle')")
    change = seen[0].speed[-1]
    assert (change.level, change.signal, change.grade) == (0.5, "slot_wal", "soft")
    assert "speed 50%: slot_wal of idle is " in phase(seen[0], 3).message


def test_a_table_that_takes_long_to_count_is_estimated_and_marked(
    expanded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        connection.execute("ANALYZE topics, atoms")
    exact = phase(read_status(expanded, RULES), 3)
    assert (exact.state, "about" in exact.message) == ("done", False)
    monkeypatch.setattr(progress, "COUNTING_MS", "1")
    with expanded.connect("reader") as holder, holder.transaction():
        holder.execute("LOCK TABLE atoms IN ACCESS EXCLUSIVE MODE")
        held = phase(read_status(expanded, RULES), 3)
    assert "about" in held.message


def test_a_cutover_shows_its_bake_time_flags_and_gates(expanded: Database) -> None:
    state = stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value, threshold, sample_size) VALUES "
            "('internal_beta', 'api_error_rate', 'fail', 0.5, 0.01, 400), ('dual_write', 'queue_depth', 'fail', 9, 1, 1)"
        )
    snapshot = read_status(expanded, RULES)
    assert snapshot.flags
    assert (snapshot.stage, snapshot.next_stage, snapshot.flags.changed_by) == (
        "internal_beta",
        "gradual_rollout",
        "a test",
    )
    assert phase(snapshot, 4).state == "under way"
    assert phase(snapshot, 4).eta_seconds == pytest.approx(86_400, abs=120)
    verdicts = {gate.metric: gate.verdict for gate in snapshot.gates}
    assert (verdicts["api_error_rate"], verdicts["queue_depth"]) == ("fail", "not evaluated")
    assert {gate.earlier for gate in snapshot.gates if gate.metric == "queue_depth"} == {"fail at dual_write"}
    assert any(
        "Gate “api error rate” fails: 50 %, limit 1 % of requests. Requests" in message
        for message in snapshot.attention
    )
    assert any("No process of the service reports" in message for message in snapshot.attention)
    assert state.state == snapshot.stage


def test_a_full_queue_a_direct_writer_and_stale_evidence_need_attention(expanded: Database) -> None:
    stand_at(expanded, "full_cutover")
    with expanded.connect("test") as connection:
        connection.execute(
            "WITH run AS (INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count) "
            "VALUES (gen_random_uuid(), 'completed', '[]', 0) RETURNING id) "
            "INSERT INTO topic_proposals (id, extraction_run_id, name, description, confidence, status) "
            "SELECT gen_random_uuid(), run.id, 'n' || n, 'd', 0.5, 'pending' FROM run, generate_series(1, 3) AS n"
        )
        connection.execute(
            "INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at) "
            "VALUES ('old one', 'off', 1, now())"
        )
        evidence.record(connection, "rollback_drill", {"passed": False})
        evidence.record(connection, "value_verification", {"passed": True})
        connection.execute(
            "UPDATE migration.evidence SET recorded_at = now() - interval '40 hours' WHERE kind = 'value_verification'"
        )
    attention = " ".join(read_status(expanded, RULES).attention)
    for message in (
        "on: old one.",
        "The review queue is full: 3 of 3",
        "The last rollback drill is not valid.",
        "The last value verification is 40 h old (limit 36 h)",
    ):
        assert message in attention


@pytest.mark.parametrize(
    ("alteration", "problem"),
    [
        ("UPDATE migration.evidence SET content = '{}' WHERE kind = 'verified_backup'", "has no field bytes"),
        ("UPDATE migration.evidence SET content = '[]' WHERE kind = 'verified_backup'", "has no field bytes"),
        ("UPDATE migration.evidence SET recorded_at = now() + interval '1 day'", "is in the future"),
    ],
)
def test_altered_evidence_is_named_and_the_rest_is_shown(expanded: Database, alteration: str, problem: str) -> None:
    with expanded.connect("test") as connection:
        evidence.record(connection, "verified_backup", {"bytes": 1, "path": "/nowhere"})
        connection.execute(alteration)
        evidence.record(connection, "load_test", {"passed": True})
    snapshot = read_status(expanded, RULES)
    shown = {item.kind: (item.valid, item.message) for item in snapshot.evidence}
    assert shown["verified_backup"] == (None, "cannot be read")
    assert shown["load_test"] == (True, "valid")
    assert any("verified_backup" in message and problem in message for message in snapshot.attention)


def test_checks_on_record_are_the_latest_of_each(checked: Database) -> None:
    latest = {
        check.name: (check.asset, check.succeeded, check.warns, check.message)
        for check in read_status(checked, RULES).checks
    }
    assert latest == {
        "rows_are_equal": ("part/table", False, False, "rows_are_equal said so"),
        "nothing_is_lost": ("part/table", False, False, "nothing_is_lost said so"),
        "it_is_quick": ("part/table", False, True, "it_is_quick said so"),
    }


def test_a_failed_check_needs_attention_and_a_warning_does_not(checked: Database) -> None:
    messages = [message for message in read_status(checked, RULES).attention if message.startswith("Check “")]
    assert len(messages) == 2
    assert not any("it_is_quick" in message for message in messages)


def test_each_problem_needs_attention_once(expanded: Database) -> None:
    stand_at(expanded, "full_cutover")
    with expanded.connect("test") as connection:
        connection.execute(
            "WITH run AS (INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) "
            "VALUES (gen_random_uuid(), '[]', 0) RETURNING id) "
            "INSERT INTO topic_proposals (id, extraction_run_id, name, description, confidence, status) "
            "SELECT gen_random_uuid(), run.id, 'n' || n, 'd', 0.5, 'pending' FROM run, generate_series(1, 3) AS n;"
            "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value, threshold, sample_size) "
            "VALUES ('full_cutover', 'queue_depth', 'fail', 3, 2, 3)"
        )
        evidence.record(connection, "value_verification", {"passed": False})
        for asset, name, message in (
            ("cutover_gates", "queue_depth", "queue_depth: fail."),
            ("topic_backfill", "rows_are_equal", "4 rows differ."),
            ("atom_backfill", "rows_are_equal", "4 rows differ."),
            ("backfill_completion", "rows_are_equal", "4 rows differ."),
            ("value_verification", "no_value_differs", "1 value differs."),
        ):
            record = CheckRecord(name, False, None, message, False, asset)
            check_record.record(connection, [record], dagster_run_id=None)
    messages = read_status(expanded, RULES).attention

    assert sum("queue" in message for message in messages) == 1
    assert next(message for message in messages if "4 rows differ" in message).startswith(
        "Check “rows are equal” of atom_backfill, backfill_completion and 1 more failed at "
    )
    assert sum("4 rows differ" in message for message in messages) == 1
    assert sum("value" in message for message in messages) == 1


def test_another_database_has_none_of_these_records(checked: Database, database: Database) -> None:
    assert read_status(database, RULES).checks == ()


def test_a_database_that_is_away_is_an_error() -> None:
    with pytest.raises(UnreachableError):
        read_status(Database("postgresql://nobody@127.0.0.1:1/nothing"), RULES)


def test_everything_can_be_written_as_json(checked: Database) -> None:
    stand_at(checked, "gradual_rollout")
    written = json.loads(
        json.dumps(read_status(checked, RULES.replaced(dual_write=DualWriteSettings(no_live_writers=True))).as_json())
    )
    assert written["stage"] == "gradual_rollout"
    assert written["phases"][2]["state"] == "done"
    assert len(written["checks"]) == 3
