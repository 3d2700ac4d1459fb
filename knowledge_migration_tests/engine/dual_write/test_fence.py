"""From the fence on nobody writes knowledge without a proposal: which processes it waits for, and what proves it."""

import os

import pytest

from knowledge_migration.engine.dual_write import fence, switch
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.writers import FenceError, drain
from knowledge_migration_tests.engine.backfill.backfilling import at_the_same_time, count, until
from knowledge_migration_tests.support.fence_timeouts import BRIEF, PATIENT
from knowledge_migration_tests.support.roles import role

BEAT = """
INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at)
VALUES ('old', 'off', 0, now(), clock_timestamp() - make_interval(secs => %(ago)s))
"""


def proven(database: Database) -> fence.Fence:
    return switch.switch_on(database, Flags(), PATIENT, reason="a test")[1]


def test_a_live_service_acknowledges_and_the_fence_is_proven_and_recorded(peopled: Database, service: str) -> None:
    flags, made = switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    assert (flags.dual_write, flags.version, made.flag_version, len(made.writers)) == (True, 1, 1, 1)
    assert fence.proven_fence(peopled) == made


def test_without_a_live_process_nothing_is_switched(peopled: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="knowledge-migration serve"):
        switch.switch_on(peopled, Flags(), BRIEF, reason="a test")
    assert count(rows, "SELECT count(*) FROM feature_flags") == 0


def test_a_process_that_does_not_acknowledge_is_named_and_the_flags_stay(peopled: Database, rows: Connection) -> None:
    rows.execute(BEAT, {"ago": 0})
    with pytest.raises(BlockedError, match="old \\(mode off, flag version 0"):
        switch.switch_on(peopled, Flags(), BRIEF, reason="a test")
    assert count(rows, "SELECT (config ->> 'dual_write')::boolean::int FROM feature_flags") == 1
    with pytest.raises(PreconditionError, match="no dual write fence"):
        fence.proven_fence(peopled)


def test_a_process_that_has_not_reported_lately_is_not_waited_for(
    peopled: Database, rows: Connection, service: str
) -> None:
    rows.execute(BEAT, {"ago": 60})
    assert proven(peopled).writers


def test_a_transaction_of_another_role_is_waited_for_without_the_right_to_see_it(
    peopled: Database, rows: Connection
) -> None:
    with role(rows, f"watcher_{os.getpid()}") as limited, peopled.connect("a slow writer") as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO topics (name, description) VALUES ('written directly', '')")
        with limited.engine() as engine, engine.connect() as connection:
            with pytest.raises(FenceError, match=f"pid {writer.info.backend_pid} .*state not visible"):
                drain(connection, BRIEF)
            with at_the_same_time(lambda: drain(connection, PATIENT)) as future:
                assert not future.done()
                writer.execute("COMMIT")
                future.result()


def test_a_transaction_older_than_the_switch_is_waited_for(peopled: Database, service: str) -> None:
    with peopled.connect("a slow writer") as writer, peopled.connect("watcher") as watcher:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO topics (name, description) VALUES ('written directly', '')")
        with at_the_same_time(lambda: proven(peopled)) as future:
            until(watcher, "SELECT count(*) FROM feature_flags WHERE version > 0")
            until(watcher, "SELECT min(flag_version) FROM migration.writer_heartbeat")
            assert not future.done()
            writer.execute("COMMIT")
            assert future.result().flag_version == 1


def test_a_transaction_that_never_ends_is_named(peopled: Database, rows: Connection, service: str) -> None:
    proven(peopled)  # the service has acknowledged: the second switch waits for transactions alone
    with peopled.connect("a sleeping writer") as writer:
        writer.execute("BEGIN")
        writer.execute("SELECT 1")
        with pytest.raises(BlockedError, match=f"pid {writer.info.backend_pid} .*a sleeping writer"):
            switch.switch_on(peopled, Flags(), BRIEF, reason="a test")


def test_a_fence_falls_when_dual_write_was_off_in_between(peopled: Database, service: str) -> None:
    proven(peopled)
    switch.switch_off(peopled, Flags(), reason="a test")
    with pytest.raises(PreconditionError, match="it has been off since"):
        fence.proven_fence(peopled)
    with peopled.begin() as transaction:
        from knowledge_migration.knowledge.flags import set_flags

        set_flags(transaction, {"dual_write": True}, initial=Flags(), actor="test", reason="on again, without proof")
    with pytest.raises(PreconditionError, match="it has been off since"):
        fence.proven_fence(peopled)
    assert proven(peopled).flag_version == 3


def test_a_second_switch_changes_nothing_and_proves_again(peopled: Database, rows: Connection, service: str) -> None:
    first, second = proven(peopled), proven(peopled)
    assert second.flag_version == first.flag_version
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'set flags'") == 1


def test_dual_write_is_not_switched_off_under_a_cutover(peopled: Database) -> None:
    with peopled.begin() as transaction:
        from knowledge_migration.knowledge.flags import set_flags

        wanted = {"enabled": True, "dual_write": True}
        set_flags(transaction, wanted, initial=Flags(), actor="test", reason="cutover")
    with pytest.raises(PreconditionError, match="Proposals are enabled"):
        switch.switch_off(peopled, Flags(), reason="a test")


def test_initial_flags_are_stored_once(peopled: Database) -> None:
    first = switch.store_flags(peopled, Flags(cutover_percentage=7))
    second = switch.store_flags(peopled, Flags(cutover_percentage=9))
    assert (first.version, first.cutover_percentage) == (1, 7)
    assert second == first


def test_a_backfill_needs_the_fence(peopled: Database, service: str) -> None:
    with pytest.raises(PreconditionError, match="KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true"):
        fence.require_fence(peopled, BRIEF, no_live_writers=False)
    proven(peopled)
    fence.require_fence(peopled, BRIEF, no_live_writers=False)


def test_the_operators_confirmation_replaces_the_fence_and_is_audited(peopled: Database, rows: Connection) -> None:
    fence.require_fence(peopled, BRIEF, no_live_writers=True)
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'no live writers'") == 1


def test_the_operators_confirmation_is_refused_while_a_direct_writer_lives(peopled: Database, rows: Connection) -> None:
    rows.execute(BEAT, {"ago": 0})
    with pytest.raises(PreconditionError, match="old \\(mode off"):
        fence.require_fence(peopled, BRIEF, no_live_writers=True)


def test_no_writer_at_all_is_no_pass(rows: Connection) -> None:
    assert not fence.writers_outcome(rows, 10).passed


def test_a_direct_writer_is_found(peopled: Database, rows: Connection, service: str) -> None:
    proven(peopled)
    assert fence.writers_outcome(rows, 10).passed
    rows.execute(BEAT, {"ago": 0})
    found = fence.writers_outcome(rows, 10)
    assert [row["process"] for row in found.sample] == ["old"]
