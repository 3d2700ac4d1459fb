"""The guard goes back once per breach, as the decision matrix says, on sound samples only, and two of them act once."""

import threading
from collections.abc import Iterator

import pytest

from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.rollback.guard import GuardTick, guard
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import FenceSettings, GuardSettings, Settings
from knowledge_migration.thresholds import GATES
from knowledge_migration_tests.engine.cutover.stages_reached import later, measured, set_, stand_at, verdicts

SETTINGS = Settings(guard=GuardSettings(threshold_floor=0.87, relief_minutes=30))
AUTOMATIC = """
SELECT action, actor, reason FROM migration.audit_log
WHERE actor = 'rollback guard' AND action <> 'set flags' ORDER BY id
"""


def tick(database: Database, *, seconds: float = 10, settings: Settings = SETTINGS) -> GuardTick:
    return guard(database, Flags(), settings, now=later(seconds=seconds))


@pytest.fixture
def half(peopled: Database) -> Iterator[Database]:
    """In the second stage."""
    stand_at(peopled, "gradual_rollout")
    return peopled


def bad(rows: Connection, errors: int = 20, answered: int = 80, seconds: float = 5) -> None:
    """Extractions in proposal mode, some of which failed."""
    measured(rows, "extraction", "proposal", answered=answered, errors=errors, at=later(seconds=seconds))


def test_nothing_is_guarded_while_proposals_are_off(peopled: Database, rows: Connection) -> None:
    stand_at(peopled, "dual_write")
    bad(rows)
    said = tick(peopled)
    assert (said.action, said.evaluations) == (None, ())


def test_a_healthy_stage_is_left_alone_and_what_was_seen_is_kept(half: Database, rows: Connection) -> None:
    bad(rows, errors=0)
    said = tick(half)
    assert said.action is None
    assert "metrics is in breach" in said.message
    assert [name for name, _ in verdicts(rows, "guard of gradual_rollout")] == [
        gate.metric for gate in GATES if gate.breach is not None
    ]


def test_errors_switch_proposals_off_and_dual_write_stays(half: Database, rows: Connection) -> None:
    bad(rows)
    said = tick(half)
    assert said.action == "instant"
    flags = read_cutover_state(half).flags
    assert (flags.enabled, flags.dual_write) == (False, True)
    (entry,) = rows.execute(AUTOMATIC).fetchall()
    assert entry["action"] == "rollback instant"
    assert "proposal_error_rate: fail. " in entry["reason"]


def test_a_thin_sample_is_no_breach(half: Database, rows: Connection) -> None:
    bad(rows, errors=20, answered=9)
    assert tick(half).action is None


def test_a_share_that_may_be_chance_is_no_breach(half: Database, rows: Connection) -> None:
    bad(rows, errors=4, answered=46)
    said = tick(half)
    assert said.action is None
    assert ("proposal_error_rate", "inconclusive") in verdicts(rows, "guard of gradual_rollout")


def test_a_good_morning_does_not_hide_a_bad_minute(half: Database, rows: Connection) -> None:
    bad(rows, errors=0, answered=5_000)
    bad(rows, seconds=7_200)
    assert tick(half, seconds=7_205).action == "instant"


def test_it_never_acts_twice_on_the_same_breach(half: Database, rows: Connection) -> None:
    bad(rows)
    assert [tick(half).action for _ in range(3)] == ["instant", None, None]
    rows.execute("UPDATE migration.service_measurement SET at = at - interval '1 minute'")  # a minute later
    stand_at(half, "gradual_rollout")
    assert tick(half).action is None
    assert len(rows.execute(AUTOMATIC).fetchall()) == 1


def test_a_second_breach_is_acted_on_again(half: Database, rows: Connection) -> None:
    bad(rows)
    assert tick(half).action == "instant"
    stand_at(half, "gradual_rollout")
    bad(rows, seconds=30)
    assert tick(half, seconds=40).action == "instant"


def test_two_guards_at_once_act_once(half: Database, rows: Connection) -> None:
    bad(rows)
    said: list[GuardTick] = []
    threads = [threading.Thread(target=lambda: said.append(tick(half))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 4
    assert [one.action for one in said].count("instant") == 1
    assert len(rows.execute(AUTOMATIC).fetchall()) == 1


def test_half_as_slow_again_leaves_a_tenth(half: Database, rows: Connection) -> None:
    measured(rows, "extraction", "proposal", answered=200, seconds=2.0, spread=1.3, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=200, seconds=1.0, spread=1.3, at=later(seconds=5))
    assert tick(half).action == "partial"
    flags = read_cutover_state(half).flags
    assert (flags.enabled, flags.cutover_percentage, flags.dual_write) == (True, 10, True)


def test_what_is_slow_at_a_tenth_already_is_told_and_nothing_is_changed(half: Database, rows: Connection) -> None:
    set_(half, cutover_percentage=10)
    measured(rows, "extraction", "proposal", answered=200, seconds=2.0, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=200, seconds=1.0, at=later(seconds=5))
    said = tick(half)
    assert said.action is None
    assert "already as low as a partial rollback sets them" in said.message


def test_the_severest_breach_decides(half: Database, rows: Connection) -> None:
    measured(rows, "extraction", "proposal", answered=200, errors=50, seconds=2.0, at=later(seconds=5))
    measured(rows, "extraction", "dual_write", answered=200, seconds=1.0, at=later(seconds=5))
    assert tick(half).action == "instant"


def test_an_inconsistency_switches_proposals_off(half: Database, rows: Connection) -> None:
    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, settings, created_at) VALUES "
        """('completed', '[1]', 1, '{"mode": "proposal", "topic_proposals": 1}', now() + interval '5 seconds')"""
    )
    said = tick(half)
    assert said.action == "instant"
    assert "inconsistencies: fail. 1 rows" in said.message


def test_a_full_queue_lowers_the_threshold_step_by_step_down_to_its_floor(half: Database, rows: Connection) -> None:
    rows.execute(
        "WITH run AS (INSERT INTO knowledge_extraction_runs (status, message_ids, message_count) VALUES ('completed', '[]', 0) "
        "RETURNING id) INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, created_at) "
        "SELECT run.id, 'n' || n, '', 0.5, now() - interval '1 day' FROM run, generate_series(1, 1001) AS n"
    )
    thresholds = []
    for minutes in (0, 1, 31, 62, 93):
        said = tick(half, seconds=10 + 60 * minutes)
        thresholds.append((said.action, read_cutover_state(half).flags.auto_approve_threshold))
    assert thresholds == [
        ("lower threshold", 0.9),
        (None, 0.9),
        ("lower threshold", 0.87),
        (None, 0.87),
        (None, 0.87),
    ]
    assert read_cutover_state(half).state == "gradual_rollout"


def test_where_automatic_approval_is_off_a_full_queue_is_told_only(peopled: Database, rows: Connection) -> None:
    stand_at(peopled, "internal_beta")
    rows.execute(
        "WITH run AS (INSERT INTO knowledge_extraction_runs (status, message_ids, message_count) VALUES ('completed', '[]', 0) "
        "RETURNING id) INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, created_at) "
        "SELECT run.id, 'n' || n, '', 0.5, now() - interval '1 day' FROM run, generate_series(1, 1001) AS n"
    )
    said = tick(peopled)
    assert said.action is None
    assert "review it" in said.message


def test_a_process_that_does_not_obey_is_named_and_the_flags_are_set(half: Database, rows: Connection) -> None:
    rows.execute(
        "INSERT INTO migration.writer_heartbeat VALUES ('a stuck one', 'rollout', 1, now(), now() + interval '1 hour')"
    )
    bad(rows)
    said = tick(half, settings=SETTINGS.replaced(fence=FenceSettings(seconds=0.3)))
    assert said.action == "instant"
    assert said.problem
    assert "a stuck one" in said.problem
    assert read_cutover_state(half).state == "dual_write"


def test_a_retired_path_is_not_gone_back_to(peopled: Database, rows: Connection) -> None:
    stand_at(peopled, "full_cutover")
    set_(peopled, dual_write=False, legacy_paths_retired=True)
    bad(rows)
    said = tick(peopled)
    assert said.action is None
    assert "retired" in said.message
    assert read_cutover_state(peopled).state == "full_cutover"


def test_what_a_load_test_broke_on_purpose_is_no_breach_and_what_breaks_after_it_is(
    half: Database, rows: Connection
) -> None:
    bad(rows, seconds=5)
    rows.execute(
        "INSERT INTO migration.evidence (kind, content, recorded_at) VALUES ('load_test', '{}', %s)",
        (later(seconds=6),),
    )
    assert tick(half, seconds=10).action is None
    bad(rows, seconds=15)
    assert tick(half, seconds=20).action == "instant"


@pytest.mark.parametrize(("minutes_ago", "action"), [(1, None), (16, "instant")])
def test_while_a_load_test_is_under_way_nothing_is_judged_but_a_killed_one_blinds_nobody_for_long(
    half: Database, rows: Connection, minutes_ago: int, action: str | None
) -> None:
    bad(rows)
    rows.execute(
        "INSERT INTO migration.evidence (kind, content, recorded_at) VALUES ('synthetic_messages', '{}', %s)",
        (later(seconds=10 - 60 * minutes_ago),),
    )
    assert tick(half).action == action
