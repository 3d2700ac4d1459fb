"""The routing table, the bucket, and the one function that changes the flags."""

import itertools
import threading

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flags import (
    BUCKETS,
    Flags,
    FlagsError,
    StaleFlagsError,
    bucket,
    history,
    read_flags,
    route,
    set_flags,
)
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.support.flags import change_flags

ADMIN, USER = 7, next(user for user in range(1_000) if 2_000 <= bucket(user, ()) < 4_000 and user != 7)


@pytest.mark.parametrize("dual_write", [False, True])
@pytest.mark.parametrize(("audience", "percentage"), list(itertools.product(("admins", "everyone"), (0, 10, 50, 100))))
@pytest.mark.parametrize("user", [ADMIN, USER, None])
@pytest.mark.parametrize("enabled", [False, True])
def test_every_row_of_the_routing_table(
    enabled: bool, dual_write: bool, audience: str, percentage: int, user: int | None
) -> None:
    flags = Flags(
        enabled=enabled,
        dual_write=dual_write,
        audience=audience,
        cutover_percentage=percentage,
        admin_user_ids=(ADMIN,),
    )
    otherwise = "dual_write" if dual_write else "direct"
    in_bucket = bucket(user, (1, 2)) < percentage * BUCKETS // 100
    proposal = enabled and (user == ADMIN or (audience == "everyone" and in_bucket))
    assert route(flags, user, (1, 2)) == ("proposal" if proposal else otherwise)


def test_the_table_is_not_true_by_its_own_words() -> None:
    everyone = Flags(enabled=True, cutover_percentage=50)
    assert route(everyone, USER, ()) == "proposal"
    assert route(everyone.model_copy(update={"cutover_percentage": 10}), USER, ()) == "direct"
    assert route(everyone.model_copy(update={"audience": "admins", "dual_write": True}), USER, ()) == "dual_write"


def test_the_bucket_is_sticky_and_the_order_of_messages_does_not_matter() -> None:
    assert bucket(5, (1, 2)) == bucket(5, (9,))
    assert bucket(None, (3, 1, 2)) == bucket(None, (1, 2, 3, 3))
    assert bucket(None, (1,)) != bucket(None, (2,))


def test_raising_the_percentage_never_moves_anybody_back() -> None:
    users = range(1, 2_001)
    before: set[int] = set()
    for percentage in range(101):
        now = {
            user for user in users if route(Flags(enabled=True, cutover_percentage=percentage), user, ()) == "proposal"
        }
        assert before <= now
        before = now
    assert before == set(users)


def test_a_hundred_thousand_users_are_spread_evenly() -> None:
    groups = [0] * 100
    for user in range(1, 100_001):
        groups[bucket(user, ()) * 100 // BUCKETS] += 1
    chi_squared = sum((group - 1_000) ** 2 / 1_000 for group in groups)
    assert chi_squared < 148.2  # 99 degrees of freedom, one in a thousand is above


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        (Flags(), "off"),
        (Flags(dual_write=True), "dual_write"),
        (Flags(enabled=True, dual_write=True, cutover_percentage=50), "rollout"),
        (Flags(enabled=True, cutover_percentage=50), "rollout_without_dual_write"),
        (Flags(enabled=True, cutover_percentage=100, audience="admins", dual_write=True), "rollout"),
        (Flags(enabled=True, cutover_percentage=100), "full"),
    ],
)
def test_the_state_in_one_word(flags: Flags, state: str) -> None:
    assert flags.state == state


def test_a_change_is_versioned_audited_and_notified(peopled: Database, rows: Connection) -> None:
    rows.execute("LISTEN knowledge_flags")
    first = change_flags(peopled, {"dual_write": True})
    second = change_flags(peopled, {"knowledge_proposals_cutover_percentage": 50})
    assert (first.version, second.version, second.dual_write, second.cutover_percentage) == (1, 2, True, 50)
    with peopled.begin() as transaction:
        assert read_flags(transaction) == second
        told = history(transaction)
    assert [(one["after"]["version"], one["reason"]) for one in told] == [(2, "to see"), (1, "to see")]
    assert [notify.payload for notify in rows.notifies(timeout=30, stop_after=2)] == ["1", "2"]


def test_what_is_rolled_back_leaves_no_audit_entry(peopled: Database, sql: sa.Connection, rows: Connection) -> None:
    set_flags(sql, {"dual_write": True}, initial=Flags(), actor="a test", reason="to see")
    sql.rollback()
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 0


def test_a_change_that_changes_nothing_is_not_audited(peopled: Database, rows: Connection) -> None:
    assert change_flags(peopled, {"dual_write": True}) == change_flags(peopled, {"dual_write": True})
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dual": True}, "There is no flag dual"),
        ({"cutover_percentage": 101}, "less than or equal to 100"),
        ({"cutover_percentage": "50"}, "valid integer"),
        ({"enabled": 1}, "valid boolean"),
        ({"auto_approve_threshold": -0.1}, "greater than or equal to 0"),
        ({"audience": "nobody"}, "'admins' or 'everyone'"),
        ({"version": 9}, "There is no flag version"),
    ],
)
def test_what_the_flags_cannot_be_is_refused(
    peopled: Database, rows: Connection, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(FlagsError, match=words):
        change_flags(peopled, changes)
    assert count(rows, "SELECT count(*) FROM feature_flags") == 0


def test_a_reason_is_needed(peopled: Database) -> None:
    with pytest.raises(FlagsError, match="needs a reason"):
        change_flags(peopled, {"dual_write": True}, reason=" ")


def test_who_has_read_an_older_version_is_told(peopled: Database) -> None:
    change_flags(peopled, {"dual_write": True})
    with pytest.raises(StaleFlagsError, match="version 1, not 0"):
        change_flags(peopled, {"enabled": True}, expected_version=0)


def test_a_broken_row_is_refused_and_can_be_reset(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})
    rows.execute("""UPDATE feature_flags SET config = '{"cutover_percentage": "half"}'""")
    with pytest.raises(FlagsError, match="--reset"):
        change_flags(peopled, {"enabled": True})
    assert change_flags(peopled, {"enabled": True}, reset=True).values == {**Flags().values, "enabled": True}


def test_versions_go_on_where_the_row_was_lost(peopled: Database, rows: Connection) -> None:
    change_flags(peopled, {"dual_write": True})
    change_flags(peopled, {"enabled": True})
    rows.execute("DELETE FROM feature_flags")
    assert change_flags(peopled, {"cutover_percentage": 5}).version == 3


def test_two_at_once_both_count(peopled: Database, rows: Connection) -> None:
    changes = [{"cutover_percentage": 11}, {"admin_user_ids": [3]}, {"dual_write": True}, {"enabled": True}]
    threads = [threading.Thread(target=change_flags, args=(peopled, one)) for one in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with peopled.begin() as transaction:
        flags = read_flags(transaction)
    assert flags == Flags(enabled=True, dual_write=True, cutover_percentage=11, admin_user_ids=(3,), version=4)
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 4
