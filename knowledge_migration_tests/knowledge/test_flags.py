"""The routing table written out, the spread of message sets, and what a change of flags leaves: audit, notification, version.

What is said once in `test_routing` is not said again here.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flag_watcher import _beat
from knowledge_migration.knowledge.flags import (
    BUCKETS,
    SHADOWING_STATES,
    Flags,
    FlagsError,
    Mode,
    StaleFlagsError,
    bucket,
    changed,
    changes_since,
    history,
    present_flags,
    read_flags,
    route,
    set_flags,
)
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.support.flags import change_flags


def in_buckets(first: int, last: int) -> int:
    return next(user for user in itertools.count(1) if first <= bucket(user, ()) <= last)


EARLY, MIDDLE, LATE = in_buckets(0, 999), in_buckets(1_000, 4_999), in_buckets(5_000, 9_999)
LISTED = next(user for user in itertools.count(1) if bucket(user, ()) >= 5_000 and user != LATE)
WHO = {
    "early": (EARLY, ()),
    "middle": (MIDDLE, ()),
    "late": (LATE, ()),
    "listed": (LISTED, ()),
    "early messages": (None, next((n,) for n in itertools.count(1) if bucket(None, (n,)) < 1_000)),
    "late messages": (None, next((n,) for n in itertools.count(1) if bucket(None, (n,)) >= 5_000)),
}

EVERYONE_ENABLED = {
    0: {"listed"},
    10: {"listed", "early", "early messages"},
    50: {"listed", "early", "early messages", "middle"},
    100: {"listed", "early", "early messages", "middle", "late", "late messages"},
}
"""Who gets proposals when they are enabled for everyone, by percentage."""


@pytest.mark.parametrize("percentage", [0, 10, 50, 100])
@pytest.mark.parametrize("audience", ["admins", "everyone"])
@pytest.mark.parametrize("dual_write", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_the_routing_table_written_out(enabled: bool, dual_write: bool, audience: Any, percentage: int) -> None:
    flags = Flags(
        enabled=enabled,
        dual_write=dual_write,
        audience=audience,
        cutover_percentage=percentage,
        admin_user_ids=(LISTED,),
    )
    everyone = EVERYONE_ENABLED[percentage]
    proposals = set[str]() if not enabled else everyone if audience == "everyone" else {"listed"}
    otherwise: Mode = "dual_write" if dual_write else "direct"
    expected = {name: "proposal" if name in proposals else otherwise for name in WHO}
    assert {name: route(flags, *who) for name, who in WHO.items()} == expected


def test_a_bucket_is_the_same_in_every_process_and_every_release() -> None:
    assert [bucket(user, ()) for user in (1, 2, 3, 2**40)] == [2621, 4618, 7731, 2130]
    assert [bucket(None, ids) for ids in ((), (1,), (1, 2, 3))] == [1251, 6882, 4741]


def test_a_user_and_a_message_of_the_same_number_have_nothing_to_do_with_each_other() -> None:
    same = sum(bucket(number, ()) == bucket(None, (number,)) for number in range(10_000))
    assert same < 10


def message_sets(how_many: int) -> list[list[int]]:
    chosen = random.Random(1)
    return [[first, *(chosen.randrange(1, 10**6) for _ in range(chosen.randrange(6)))] for first in range(how_many)]


def test_a_hundred_thousand_sets_of_messages_are_spread_evenly() -> None:
    groups = Counter(bucket(None, ids) * 100 // BUCKETS for ids in message_sets(100_000))
    chi_squared = sum((groups[group] - 1_000) ** 2 / 1_000 for group in range(100))
    assert chi_squared < 148.2  # 99 degrees of freedom, one in a thousand is above


def test_no_order_and_no_repetition_moves_a_set_of_messages() -> None:
    chosen = random.Random(2)
    for ids in message_sets(1_000):
        shuffled = [*ids, ids[0]]
        chosen.shuffle(shuffled)
        assert bucket(None, shuffled) == bucket(None, ids)


def test_raising_the_percentage_never_moves_a_set_of_messages_back() -> None:
    sets: Sequence[Sequence[int]] = message_sets(500)
    before: set[int] = set()
    for percentage in range(101):
        flags = Flags(enabled=True, cutover_percentage=percentage)
        now = {number for number, ids in enumerate(sets) if route(flags, None, ids) == "proposal"}
        assert before <= now
        before = now
    assert len(before) == len(sets)


@pytest.mark.parametrize("percentage", [10, 50])
def test_the_share_of_the_users_is_the_percentage(percentage: int) -> None:
    flags = Flags(enabled=True, cutover_percentage=percentage)
    moved = sum(route(flags, user, ()) == "proposal" for user in range(1, 100_001))
    assert abs(moved / 1_000 - percentage) < 0.6  # about four standard deviations at 50


def test_the_state_is_the_worst_that_may_happen_to_an_extraction() -> None:
    for enabled, dual_write, audience, percentage in itertools.product(
        (False, True), (False, True), ("admins", "everyone"), (0, 50, 100)
    ):
        flags = Flags(enabled=enabled, dual_write=dual_write, audience=audience, cutover_percentage=percentage)
        modes = {route(flags, user, ()) for user in range(1, 200)}
        assert ("direct" in modes) == (flags.state not in SHADOWING_STATES)
        assert (modes == {"proposal"}) == (flags.state == "full")
        assert flags.records_origins == (enabled or dual_write)


def test_a_change_is_in_the_audit_log_with_all_that_explains_it(peopled: Database) -> None:
    change_flags(peopled, {"dual_write": True}, initial=Flags(cutover_percentage=5), actor="the first")
    change_flags(peopled, {"enabled": True}, actor="the second", reason="day two", dagster_run_id="a run")
    with peopled.begin() as transaction:
        second, first = history(transaction)
        runs = transaction.execute(sa.text("SELECT dagster_run_id FROM migration.audit_log ORDER BY id")).scalars()
        assert list(runs) == [None, "a run"]
    assert (first["actor"], first["reason"], second["actor"], second["reason"]) == (
        "the first",
        "to see",
        "the second",
        "day two",
    )
    assert first["before"] == {**Flags(cutover_percentage=5).values, "version": 0}
    assert first["after"] == second["before"] == {**Flags(cutover_percentage=5, dual_write=True).values, "version": 1}
    assert second["after"] == {**first["after"], "enabled": True, "version": 2}
    assert second["at"] >= first["at"]


def test_history_gives_the_newest_few_and_changes_since_all_in_order(peopled: Database) -> None:
    for percentage in (10, 20, 30, 40):
        change_flags(peopled, {"cutover_percentage": percentage})
    with peopled.begin() as transaction:
        assert [one["after"]["cutover_percentage"] for one in history(transaction, limit=2)] == [40, 30]
        assert [one.cutover_percentage for one in changes_since(transaction, 1)] == [20, 30, 40]
        assert changes_since(transaction, 4) == []


def test_nobody_is_notified_before_the_change_is_committed_or_of_one_that_changed_nothing(
    peopled: Database, sql: sa.Connection, rows: Connection
) -> None:
    rows.execute("LISTEN knowledge_flags")
    set_flags(sql, {"dual_write": True}, initial=Flags(), actor="a test", reason="to see")
    sql.rollback()
    change_flags(peopled, {"cutover_percentage": 1})
    change_flags(peopled, {"cutover_percentage": 1})
    change_flags(peopled, {"cutover_percentage": 2})
    assert [notify.payload for notify in rows.notifies(timeout=30, stop_after=2)] == ["1", "2"]


def test_what_is_rolled_back_leaves_the_flags_as_they_were(peopled: Database, sql: sa.Connection) -> None:
    before = change_flags(peopled, {"cutover_percentage": 10})
    set_flags(sql, {"cutover_percentage": 90}, initial=Flags(), actor="a test", reason="to see")
    sql.rollback()
    assert read_flags(sql) == before


def test_the_first_setting_is_recorded_even_if_it_says_what_the_environment_says(
    peopled: Database, rows: Connection
) -> None:
    assert change_flags(peopled, {"dual_write": True}, initial=Flags(dual_write=True)).version == 1
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 1


def test_what_is_refused_changes_nothing_of_what_is_set(peopled: Database, rows: Connection) -> None:
    before = change_flags(peopled, {"cutover_percentage": 10})
    for changes in ({"cutover_percentage": 90, "unknown": 1}, {"cutover_percentage": 90, "dual_write": "yes"}):
        with pytest.raises(FlagsError):
            change_flags(peopled, changes)
    with peopled.begin() as transaction:
        assert read_flags(transaction) == before
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"cutover_percentage": None},
        {"cutover_percentage": 50.5},
        {"cutover_percentage": True},
        {"auto_approve_threshold": float("nan")},
        {"auto_approve_threshold": float("inf")},
        {"admin_user_ids": "7"},
        {"admin_user_ids": ["7"]},
        {"dual_write": "true"},
    ],
)
def test_a_value_of_another_type_is_not_made_to_fit(changes: dict[str, Any]) -> None:
    with pytest.raises(FlagsError, match="cannot be set so"):
        changed(Flags(), changes)


def test_the_version_that_was_read_is_accepted_also_before_the_first_setting(peopled: Database) -> None:
    assert change_flags(peopled, {"dual_write": True}, expected_version=0).version == 1
    assert change_flags(peopled, {"enabled": True}, expected_version=1).version == 2


def test_of_two_who_have_read_the_same_version_one_is_told(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})
    ready, told = threading.Barrier(4), list[str]()

    def one(percentage: int) -> None:
        ready.wait(20)
        try:
            change_flags(peopled, {"cutover_percentage": percentage}, expected_version=1)
        except StaleFlagsError:
            told.append("stale")

    threads = [threading.Thread(target=one, args=(percentage,)) for percentage in (10, 20, 30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["stale"] * 3
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 2


def test_a_reset_makes_what_is_not_named_initial_again(peopled: Database) -> None:
    change_flags(peopled, {"dual_write": True, "cutover_percentage": 70, "admin_user_ids": [1, 2]})
    after = change_flags(peopled, {"enabled": True}, initial=Flags(cutover_percentage=5), reset=True)
    assert after == Flags(enabled=True, cutover_percentage=5, version=2)


BROKEN = (
    [1],
    [],
    "text",
    5,
    False,
    {"unknown": 1},
    {"dual_write": None},
    {"cutover_percentage": 101},
    {"dual_write": True, "knowledge_proposals_dual_write": False},
)


def test_a_row_of_any_broken_shape_is_told_and_its_reset_keeps_it_on_record(
    peopled: Database, rows: Connection
) -> None:
    change_flags(peopled, {"cutover_percentage": 3})
    for version, broken in zip(itertools.count(2, 2), BROKEN, strict=False):  # the damage has a version, too
        rows.execute("UPDATE feature_flags SET config = %(config)s", {"config": Jsonb(broken)})
        with peopled.begin() as transaction, pytest.raises(FlagsError, match="--reset"):
            read_flags(transaction)
        with pytest.raises(FlagsError, match="--reset"):
            change_flags(peopled, {"enabled": True})
        assert change_flags(peopled, {"dual_write": True}, reset=True) == Flags(dual_write=True, version=version + 1)
        with peopled.begin() as transaction:
            kept = history(transaction)[0]["before"]
        named = broken if isinstance(broken, dict) else {"config": broken}
        assert kept == {**named, "enabled": False, "version": version}


def test_a_row_without_a_config_is_the_defaults(peopled: Database, rows: Connection) -> None:
    rows.execute("INSERT INTO feature_flags (name, enabled, version) VALUES ('knowledge_proposals', true, 4)")
    with peopled.begin() as transaction:
        assert read_flags(transaction) == Flags(enabled=True, version=4)


def test_a_change_of_a_lost_row_begins_with_what_was_last_audited(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"cutover_percentage": 70})
    change_flags(peopled, {"cutover_percentage": 80})
    rows.execute("DELETE FROM feature_flags")
    with pytest.raises(StaleFlagsError, match="version 2, not 1"):
        change_flags(peopled, {"enabled": True}, expected_version=1)
    after = change_flags(peopled, {"enabled": True}, initial=Flags(dual_write=True), expected_version=2)
    assert after == Flags(enabled=True, cutover_percentage=80, version=3)


def test_before_phase_1_no_statement_of_the_service_fails(database: Database) -> None:
    with database.begin() as connection:
        assert present_flags(connection, Flags()) == (Flags(), None)
        _beat(connection, "one", Flags(), datetime.now(UTC), None)
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
