"""One look at everything: it shows what is there, estimates what is too large to count, and names what needs attention."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy.engine import make_url

from knowledge_migration.engine.backfill.control import Limits, set_control
from knowledge_migration.engine.backfill.plan import make_plan
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Database, UnreachableError
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.status import phases
from knowledge_migration.engine.status.model import Phase, StatusSnapshot
from knowledge_migration.engine.status.reader import StatusRules, read_status
from knowledge_migration.engine.status.recorded_checks import recorded_checks
from knowledge_migration.thresholds import BAKE_MINUTES, GATES
from knowledge_migration_tests.conftest import clone, drop
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at

RULES = StatusRules(
    gates=GATES,
    bake_minutes=BAKE_MINUTES,
    backup_max_age_hours=24,
    drill_max_age_days=7,
    verification_max_age_hours=36,
    stable_days=14,
    live_seconds=10,
    queue_limit=3,
    no_live_writers=False,
)


def phase(found: StatusSnapshot, number: int) -> Phase:
    """The phase of that number."""
    return found.phases[number]


@pytest.fixture
def storage(server: EmbeddedServer) -> Iterator[Database]:
    """A database of Dagster's own, with its tables."""
    database = clone(server, "template1")
    url = make_url(database.url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    kept = PostgresEventLogStorage(url, should_autocreate_tables=True)
    with dg.DagsterInstance.ephemeral() as instance:
        kept.register_instance(instance)
        for name, passed, severity in (
            ("rows_are_equal", True, dg.AssetCheckSeverity.ERROR),
            ("nothing_is_lost", False, dg.AssetCheckSeverity.ERROR),
            ("it_is_quick", False, dg.AssetCheckSeverity.WARN),
            ("rows_are_equal", False, dg.AssetCheckSeverity.ERROR),
        ):
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(["part", "table"]),
                check_name=name,
                passed=passed,
                severity=severity,
                description=f"{name} said so",
                metadata={},
            )
            kept.store_event(_logged(DagsterEventType.ASSET_CHECK_EVALUATION, evaluation))
        planned = AssetCheckEvaluationPlanned(asset_key=dg.AssetKey("table"), check_name="it_broke_off")
        kept.store_event(_logged(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, planned))
    kept.dispose()
    yield database
    drop(server, database)


def _logged(kind: DagsterEventType, said: dg.AssetCheckEvaluation | AssetCheckEvaluationPlanned) -> dg.EventLogEntry:
    """It as an event without a run, as a sensor reports one."""
    event = DagsterEvent(kind.value, "nothing", event_specific_data=said)
    moment = datetime.now(UTC).timestamp()
    return dg.EventLogEntry(
        error_info=None, level=20, user_message="", run_id="r", timestamp=moment, dagster_event=event
    )


def test_a_legacy_database_has_begun_nothing(database: Database) -> None:
    found = read_status(database, RULES, None)
    assert [one.state for one in found.phases] == ["not begun"] * 6
    assert (found.flags, found.stage, found.gates, found.queues, found.writers, found.attention) == (
        None, None, (), (), (), (),
    )  # fmt: skip
    assert {(proof.well, proof.words) for proof in found.proofs} == {(None, "never")}


def test_a_backfill_under_way_shows_its_share_and_its_end(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        open_run(connection)
        plan = make_plan(connection, width_ids=100, max_partitions=200)["atom"]
    first = plan.partitions[0]
    backfill_partition(expanded, first, Limits(batch_size=10, rate_limit_per_second=0))
    idle = phase(read_status(expanded, RULES, None), 3)
    assert (idle.state, idle.eta_seconds) == ("under way", None)
    assert "nobody works on it" in idle.words
    assert idle.share is not None
    assert 0 < idle.share < 1
    seen: list[StatusSnapshot] = []
    looked = threading.Event()

    def told(progress: object) -> None:
        if not looked.is_set():
            seen.append(read_status(expanded, RULES, None))
            looked.set()

    backfill_partition(expanded, plan.partitions[1], Limits(batch_size=10, rate_limit_per_second=0), on_progress=told)
    busy = phase(seen[0], 3)
    assert "1 at work" in busy.words
    assert busy.eta_seconds is not None
    assert busy.eta_seconds > 0


def test_a_backfill_that_is_paused_says_so_and_foretells_no_end(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        plan = make_plan(connection, width_ids=100, max_partitions=200)["atom"]
        seen: list[Phase] = []

        def told(progress: object) -> None:
            set_control(connection, paused=True, actor="a test")
            seen.append(phase(read_status(expanded, RULES, None), 3))
            set_control(connection, paused=False, actor="a test")

        backfill_partition(expanded, plan.partitions[0], Limits(rate_limit_per_second=0), on_progress=told)
    assert {(one.state, one.eta_seconds) for one in seen} == {("under way", None)}
    assert all(one.words.endswith("1 at work, paused by the operator") for one in seen)


def test_what_cannot_be_counted_in_time_is_estimated_and_says_so(
    expanded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        connection.execute("ANALYZE topics, atoms")
    exact = phase(read_status(expanded, RULES, None), 3)
    assert (exact.state, "about" in exact.words) == ("done", False)
    monkeypatch.setattr(phases, "COUNTING_MS", "1")
    with expanded.connect("reader") as holder, holder.transaction():
        holder.execute("LOCK TABLE atoms IN ACCESS EXCLUSIVE MODE")
        held = phase(read_status(expanded, RULES, None), 3)
    assert "about" in held.words


def test_a_cutover_shows_its_bake_time_flags_and_gates(expanded: Database) -> None:
    standing = stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value, threshold, sample_size) VALUES "
            "('internal_beta', 'api_error_rate', 'fail', 0.5, 0.01, 400), ('dual_write', 'queue_depth', 'fail', 9, 1, 1)"
        )
    found = read_status(expanded, RULES, None)
    assert found.flags
    assert (found.stage, found.next_stage, found.flags.changed_by) == ("internal_beta", "gradual_rollout", "a test")
    assert phase(found, 4).state == "under way"
    assert phase(found, 4).eta_seconds == pytest.approx(86_400, abs=120)
    verdicts = {gate.metric: gate.verdict for gate in found.gates}
    assert (verdicts["api_error_rate"], verdicts["queue_depth"]) == ("fail", "not judged")
    assert {gate.earlier for gate in found.gates if gate.metric == "queue_depth"} == {"fail at dual_write"}
    assert any("Gate api_error_rate fails: 0.5" in words for words in found.attention)
    assert any("No process of the service reports" in words for words in found.attention)
    assert standing.state == found.stage


def test_a_full_queue_a_direct_writer_and_stale_proofs_need_attention(expanded: Database) -> None:
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
        evidence.record(connection, "rollback_drill", {"well": False})
        evidence.record(connection, "value_verification", {"passed": True})
        connection.execute(
            "UPDATE migration.evidence SET recorded_at = now() - interval '40 hours' WHERE kind = 'value_verification'"
        )
    attention = " ".join(read_status(expanded, RULES, None).attention)
    for words in (
        "old one write directly",
        "The review queue is full: 3 of 3",
        "The last rollback drill was not well",
        "The last value verification is 40 h old (limit 36 h)",
        "The checks on record cannot be seen",
    ):
        assert words in attention


def test_checks_on_record_are_the_latest_of_each(storage: Database) -> None:
    checks = {check.name: check for check in recorded_checks(storage)}
    broken = checks.pop("it_broke_off")
    assert (broken.ended, broken.passed, broken.words) == (False, False, "Its last execution is PLANNED.")
    found = {check.name: (check.asset, check.passed, check.warns, check.words) for check in checks.values()}
    assert found == {
        "rows_are_equal": ("part/table", False, False, "rows_are_equal said so"),
        "nothing_is_lost": ("part/table", False, False, "nothing_is_lost said so"),
        "it_is_quick": ("part/table", False, True, "it_is_quick said so"),
    }


def test_a_failed_check_needs_attention_and_a_warning_does_not(expanded: Database, storage: Database) -> None:
    found = read_status(expanded, RULES, storage)
    told = [words for words in found.attention if words.startswith("Check ")]
    assert len(told) == 2
    assert not any("it_is_quick" in words for words in told)
    assert "1 checks were not run to their end the last time: table.it_broke_off." in found.attention


def test_dagsters_tables_that_are_missing_are_named(expanded: Database, database: Database) -> None:
    found = read_status(expanded, RULES, database)
    assert found.checks is None
    assert any("asset_check_executions" in words for words in found.attention)


def test_a_database_that_is_away_is_an_error() -> None:
    with pytest.raises(UnreachableError):
        read_status(Database("postgresql://nobody@127.0.0.1:1/nothing"), RULES, None)


def test_everything_can_be_written_as_json(expanded: Database, storage: Database) -> None:
    stand_at(expanded, "gradual_rollout")
    written = json.loads(json.dumps(read_status(expanded, replace(RULES, no_live_writers=True), storage).as_json()))
    assert written["stage"] == "gradual_rollout"
    assert written["phases"][2]["state"] == "done"
    assert len(written["checks"]) == 4
