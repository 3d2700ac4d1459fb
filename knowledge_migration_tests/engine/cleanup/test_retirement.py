"""The old paths are retired only when that is safe, in the order that nobody notices, and by one operator at a time."""

from typing import Any

import pytest

from knowledge_migration.engine.cleanup import retirement
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, MigrationError, PreconditionError
from knowledge_migration.knowledge.flags import Flags, FlagsError, read_flags
from knowledge_migration_tests.engine.backfill.backfilling import at_the_same_time, gone, until
from knowledge_migration_tests.engine.cleanup.process import process
from knowledge_migration_tests.engine.cleanup.retiring import QUICK, change, in_days, reopen, retire
from knowledge_migration_tests.serving import serving
from knowledge_migration_tests.support.fence_timeouts import BRIEF

BEAT = """
INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at)
VALUES ('old', 'full', 0, now(), clock_timestamp())
"""


def flags_of(database: Database) -> Flags:
    with database.begin() as transaction:
        found = read_flags(transaction)
    assert found
    return found


def constraints(rows: Connection) -> dict[str, bool]:
    """The rules of completeness that stand, and whether they are validated."""
    query = "SELECT conname, convalidated FROM pg_constraint WHERE conname LIKE '%%come_from_proposals' ORDER BY 1"
    return {row["conname"]: row["convalidated"] for row in rows.execute(query).fetchall()}


BOTH = {"atoms_come_from_proposals": True, "topics_come_from_proposals": True}


def audit_of(rows: Connection, action: str) -> list[dict[str, Any]]:
    query = "SELECT before, after, reason FROM migration.audit_log WHERE action = %(action)s ORDER BY id"
    return rows.execute(query, {"action": action}).fetchall()


def test_before_two_weeks_it_is_refused_and_nothing_changes(full: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match=r"2\.0 of the required 14 days are missing.*--override"):
        retire(full, now=in_days(12))
    assert (flags_of(full).version, constraints(rows)) == (1, {})


def test_the_refusal_names_what_broke_it_last(full: Database) -> None:
    change(full, {"cutover_percentage": 10}, reason="slow")
    change(full, {"cutover_percentage": 100})
    with pytest.raises(PreconditionError, match=r"state rollout at .* by a tester \(slow\)"):
        retire(full, now=in_days(1))


def test_below_full_cutover_no_override_helps(full: Database, rows: Connection) -> None:
    change(full, {"cutover_percentage": 50})
    with pytest.raises(PreconditionError, match="An override is not possible"):
        retire(full, override="we are in a hurry")
    assert constraints(rows) == {}


def test_an_override_is_audited_with_what_it_overrides(full: Database, rows: Connection) -> None:
    done = retire(full, now=in_days(3), override="the contract ends")
    assert done.overridden
    (entry,) = audit_of(rows, "override stability")
    assert (entry["reason"], round(entry["before"]["days"]), entry["before"]["required_days"]) == (
        "the contract ends",
        3,
        14,
    )


def test_an_empty_override_is_none(full: Database) -> None:
    with pytest.raises(PreconditionError, match="days are missing"):
        retire(full, now=in_days(3), override="  ")


def test_it_locks_the_flags_and_makes_completeness_a_fact(full: Database, rows: Connection) -> None:
    done = retire(full)
    now = flags_of(full)
    assert (now.dual_write, now.legacy_paths_retired, now.state) == (False, True, "full")
    assert constraints(rows) == BOTH
    assert (done.constraints, done.overridden) == ({"topics": "missing", "atoms": "missing"}, False)
    assert [entry["after"]["flag_version"] for entry in audit_of(rows, "retire old paths")] == [now.version]


def test_a_second_time_changes_nothing(full: Database, rows: Connection) -> None:
    first = retire(full)
    second = retire(full, now=in_days(0))
    assert second.flags == first.flags
    assert second.constraints == {"topics": "validated", "atoms": "validated"}
    assert len(audit_of(rows, "set flags")) == 2
    assert len(audit_of(rows, "require proposals")) == 4


def test_two_operators_at_once_are_told_of_each_other(full: Database) -> None:
    with full.connect("another operator") as other, advisory_lock(other, retirement.WORK):
        with pytest.raises(BusyError, match="another operator"):
            retire(full)
        with pytest.raises(BusyError, match="another operator"):
            reopen(full)


def test_flags_that_change_between_the_judgement_and_the_lock_stop_it(
    full: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = retirement.stability

    def then_changed(*args: Any, **kwargs: Any) -> Any:
        found = judged(*args, **kwargs)
        change(full, {"auto_approve_threshold": 0.8})
        return found

    monkeypatch.setattr(retirement, "stability", then_changed)
    with pytest.raises(PreconditionError, match="somebody changed them"):
        retire(full)
    assert (flags_of(full).legacy_paths_retired, constraints(rows)) == (False, {})


def test_a_process_that_does_not_obey_is_named_and_the_database_refuses_nothing_yet(
    full: Database, rows: Connection
) -> None:
    rows.execute(BEAT)
    with pytest.raises(BlockedError, match=r"old \(mode full, flag version 0"):
        retire(full, timeouts=BRIEF)
    assert (flags_of(full).legacy_paths_retired, constraints(rows)) == (True, {})
    rows.execute("DELETE FROM migration.writer_heartbeat")
    retire(full, now=in_days(0))
    assert constraints(rows) == BOTH


def test_without_a_live_process_somebody_has_to_say_so(full: Database) -> None:
    with pytest.raises(BlockedError, match="knowledge-migration serve"):
        retire(full, timeouts=BRIEF, no_live_writers=False)
    assert retire(full, no_live_writers=True).writers == ()


def test_a_transaction_older_than_the_lock_is_waited_for(full: Database, rows: Connection) -> None:
    with full.connect("a slow writer") as writer, serving(full):
        writer.execute("BEGIN")
        writer.execute("INSERT INTO users (first_name, is_active, is_bot) VALUES ('slow', true, false)")
        with at_the_same_time(lambda: retire(full, no_live_writers=False)) as future:
            until(rows, "SELECT count(*) FROM feature_flags WHERE (config ->> 'legacy_paths_retired')::boolean")
            until(rows, "SELECT (min(flag_version) = 2)::int FROM migration.writer_heartbeat")
            assert not future.done()
            assert constraints(rows) == {}
            writer.execute("COMMIT")
            assert len(future.result().writers) == 1
    assert constraints(rows) == BOTH


def test_a_direct_row_of_such_a_transaction_is_found_and_named(full: Database, rows: Connection) -> None:
    with full.connect("a slow writer") as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO topics (name, description) VALUES ('written directly', '')")
        with at_the_same_time(lambda: retire(full)) as future:
            until(rows, "SELECT count(*) FROM feature_flags WHERE (config ->> 'legacy_paths_retired')::boolean")
            writer.execute("COMMIT")
            with pytest.raises(PreconditionError, match=r"1 rows of topics have no proposal: 1\."):
                future.result()
    assert constraints(rows) == {}
    rows.execute("DELETE FROM topics")
    retire(full)
    assert constraints(rows) == BOTH


def test_a_reader_in_the_way_is_named_and_a_second_run_completes_it(full: Database, rows: Connection) -> None:
    with full.connect("a long reader") as reader:
        retire(full, without=["topics", "atoms"])
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM atoms")
        with pytest.raises(BlockedError, match=f"pid {reader.info.backend_pid} .*a long reader"):
            retirement.completeness.enforce(rows, retirement.KINDS[1], QUICK, reason="a test")
        reader.execute("COMMIT")
    assert constraints(rows) == {}
    retire(full)
    assert constraints(rows) == BOTH


def test_a_table_can_be_left_without_the_rule_by_name_only(full: Database, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('raw', '')")
    with pytest.raises(PreconditionError, match="rows of topics"):
        retire(full)
    done = retire(full, without=["topics"])
    assert done.constraints == {"topics": None, "atoms": "missing"}
    assert constraints(rows) == {"atoms_come_from_proposals": True}
    assert audit_of(rows, "retire old paths")[0]["after"]["without"] == ["topics"]
    with pytest.raises(MigrationError, match="no table messages"):
        retire(full, without=["messages"])


PLACES = [
    "flags",
    "acknowledgement",
    "access_exclusive topics",
    "share_update_exclusive topics",
    "access_exclusive atoms",
]


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_a_second_run_completes_it(full: Database, rows: Connection, place: str) -> None:
    with process(full, "retire") as running:
        running.reach(place)
        running.kill()
    gone(rows, "knowledge_migration cleanup")
    retire(full)
    assert constraints(rows) == BOTH
    assert flags_of(full).legacy_paths_retired


@pytest.mark.parametrize("place", ["access_exclusive topics", "access_exclusive atoms", "flags"])
def test_a_reopening_that_was_killed_is_completed_by_a_second(full: Database, rows: Connection, place: str) -> None:
    retire(full)
    with process(full, "reopen") as running:
        running.reach(place)
        running.kill()
    gone(rows, "knowledge_migration cleanup")
    reopen(full)
    assert constraints(rows) == {}
    assert (flags_of(full).legacy_paths_retired, flags_of(full).dual_write) == (False, True)


def test_reopening_undoes_it_and_is_audited(full: Database, rows: Connection) -> None:
    before = flags_of(full)
    retire(full)
    opened = reopen(full)
    assert opened.released == ("topics", "atoms")
    assert flags_of(full).values == before.values
    assert constraints(rows) == {}
    assert len(audit_of(rows, "no longer require proposals")) == 2
    assert reopen(full) == retirement.Reopening(flags_of(full), ())
    rows.execute("INSERT INTO topics (name, description) VALUES ('raw', '')")


def test_the_lock_is_not_opened_by_flags_alone_while_the_database_refuses_rows(
    full: Database, rows: Connection
) -> None:
    retire(full)
    with pytest.raises(FlagsError, match="knowledge-migration cleanup reopen"):
        change(full, {"legacy_paths_retired": False, "dual_write": True, "enabled": False})
    rows.execute("DELETE FROM feature_flags")
    change(full, {"auto_approve_threshold": 0.9})  # a lost row begins with the last audited flags, the lock included
    with full.begin() as transaction:
        flags = read_flags(transaction)
    assert flags
    assert flags.legacy_paths_retired


def test_who_opens_the_paths_just_before_the_rule_is_added_stops_it(full: Database, rows: Connection) -> None:
    with full.begin() as opener:
        retire(full, without=["topics", "atoms"])
        from knowledge_migration.knowledge.flags import set_flags

        wanted = {"legacy_paths_retired": False, "dual_write": True}
        set_flags(opener, wanted, initial=Flags(), actor="another", reason="open")
        with (
            full.connect("adding") as adding,
            at_the_same_time(
                lambda: retirement.completeness.enforce(
                    adding, retirement.KINDS[0], retirement.SchemaChangeSettings(lock_timeout_ms=1000), reason="a test"
                )
            ) as future,
        ):
            until(rows, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            opener.commit()
            with pytest.raises(PreconditionError, match="opened again meanwhile"):
                future.result()
    assert constraints(rows) == {}


def test_readiness_says_everything_and_changes_nothing(full: Database, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('raw', '')")
    found = retirement.readiness(full, required_days=14, live_seconds=10, now=in_days(1))
    assert found.retired is False
    assert found.constraints == {"topics": "missing", "atoms": "missing"}
    assert [obstacle.partition(" ")[0] for obstacle in found.obstacles] == ["Full", "1"]
    assert (flags_of(full).version, constraints(rows)) == (1, {})
