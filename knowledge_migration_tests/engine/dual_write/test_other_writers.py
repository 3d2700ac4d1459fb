"""Phase 2 sees writers that are not our service: it captures them, or names and refuses them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from knowledge_migration.commands import service
from knowledge_migration.engine.backfill import completion, phase
from knowledge_migration.engine.backfill.completion import sweep_stragglers
from knowledge_migration.engine.backfill.plan import make_plan
from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.cutover.gates import Interval
from knowledge_migration.engine.cutover.metrics import Window, measure
from knowledge_migration.engine.dual_write import captured, fence, switch
from knowledge_migration.engine.dual_write.observation import watch
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BusyError, PreconditionError, VerificationError
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.schema import capture
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.thresholds import GATES
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    broken_rules,
    count,
    fill,
    legacy_values,
    partitions,
    until,
)
from knowledge_migration_tests.engine.cutover.stages_reached import kept
from knowledge_migration_tests.engine.dual_write.capturing import LIMITS, Applications, application, install
from knowledge_migration_tests.support.fence_timeouts import BRIEF, PATIENT

CAPTURED_WITH_OTHER_TOPICS = """
SELECT count(*)
FROM atoms AS atom
JOIN atom_proposals AS proposal ON proposal.id = atom.migrated_from_proposal_id
JOIN knowledge_extraction_runs AS run ON run.id = proposal.extraction_run_id AND run.settings ->> 'mode' = 'captured'
WHERE proposal.proposed_topic_ids IS DISTINCT FROM coalesce(
    (SELECT jsonb_agg(topic_id ORDER BY topic_id) FROM topic_atoms WHERE atom_id = atom.id), '[]'
)
"""
UNLINKED = "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL"


@contextmanager
def writing(database: Database) -> Iterator[None]:
    """An application that writes topics while the block runs, each in a transaction of its own."""
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        with application(database, application_name="legacy app") as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("INSERT INTO topics (name, description) VALUES (%s, '')", (f"{id(stop)} {number}",))
                written.set()
                stop.wait(0.02)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert written.wait(60)
        yield
    finally:
        stop.set()
        thread.join()


def test_a_writer_without_a_service_is_captured(peopled: Database, rows: Connection) -> None:
    with writing(peopled):
        flags, proven = switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
        before = count(rows, UNLINKED)
    assert (flags.dual_write, proven.capture, proven.writers) == (True, "database", ())
    assert fence.proven_fence(peopled) == proven
    assert fence.writers_outcome(rows, 10).passed
    assert count(rows, UNLINKED) == before
    assert count(rows, "SELECT count(*) FROM topics") > before


def test_a_writer_beside_the_service_is_captured(peopled: Database, service: str) -> None:
    with writing(peopled):
        assert switch.switch_on(peopled, Flags(), PATIENT, reason="a test")[1].capture == "database"


def test_without_another_writer_the_service_writes_its_proposals(
    peopled: Database, rows: Connection, service: str
) -> None:
    assert switch.switch_on(peopled, Flags(), PATIENT, reason="a test")[1].capture == "application"
    assert not capture.is_installed(rows)


def test_the_mode_application_names_the_other_writer_and_refuses(
    peopled: Database, rows: Connection, service: str
) -> None:
    with (
        writing(peopled),
        pytest.raises(PreconditionError, match=r"topics written without a proposal.*legacy app of role"),
    ):
        switch.switch_on(peopled, Flags(), PATIENT, reason="a test", mode="application")
    assert not capture.is_installed(rows)
    with pytest.raises(PreconditionError, match="no dual write fence"):
        fence.proven_fence(peopled)


def test_the_mode_database_needs_no_observed_writer(peopled: Database, rows: Connection) -> None:
    assert switch.switch_on(peopled, Flags(), PATIENT, reason="a test", mode="database")[1].capture == "database"
    with application(peopled) as writer:
        writer.execute("INSERT INTO topics (name, description) VALUES ('at night', '')")
    assert count(rows, UNLINKED) == 0


def test_no_process_and_no_writer_is_refused_and_the_mode_database_is_named(peopled: Database) -> None:
    with pytest.raises(PreconditionError, match="DUAL_WRITE_CAPTURE=database"):
        switch.switch_on(peopled, Flags(), BRIEF, reason="a test")


def test_a_fence_falls_when_the_capture_is_disabled_or_removed(peopled: Database, rows: Connection) -> None:
    switch.switch_on(peopled, Flags(), PATIENT, reason="a test", mode="database")
    rows.execute("ALTER TABLE atoms DISABLE TRIGGER knowledge_migration_written")
    with pytest.raises(PreconditionError, match=r"public\.atoms\.knowledge_migration_written is missing or disabled"):
        fence.proven_fence(peopled)
    outcome = fence.writers_outcome(rows, 10)
    assert [row["process"] for row in outcome.sample] == ["public.atoms.knowledge_migration_written"]
    assert schema.upgrade(peopled, LIMITS).changed
    assert fence.proven_fence(peopled).capture == "database"
    rollback_dual_write(peopled, Flags(), PATIENT, reason="a test", limits=QUICK)
    with pytest.raises(PreconditionError):
        fence.proven_fence(peopled)


def test_the_confirmation_that_nobody_writes_is_verified(peopled: Database, rows: Connection) -> None:
    with writing(peopled), pytest.raises(PreconditionError, match="legacy app of role"):
        fence.require_fence(peopled, BRIEF, no_live_writers=True)
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'no live writers'") == 0


def test_an_update_refutes_that_nobody_writes_and_is_no_new_row(peopled: Database, rows: Connection) -> None:
    fill(peopled)
    with application(peopled) as writer:

        def edit(_: float) -> None:
            writer.execute("UPDATE topics SET description = description || '.' WHERE id = 1")

        editing = BRIEF.replaced(sleep=edit)
        assert watch(rows, editing, new_only=False).rows == {"topics": 1, "atoms": 0}
        assert watch(rows, editing, new_only=True).total == 0


def test_a_writer_that_appears_during_the_backfill_makes_it_incomplete(peopled: Database, rows: Connection) -> None:
    fill(peopled)
    kept(rows, "data_quality", findings=[])
    plan = {"partition_rows": 100, "max_partitions": 200}
    complete = {"no_live_writers": True, "reports": {}}
    phase.plan_backfill(peopled, QUICK, BRIEF, **plan, no_live_writers=True)
    with application(peopled) as writer:
        writer.execute("INSERT INTO topics (name, description) VALUES ('since the plan', '')")
    with pytest.raises(PreconditionError, match="rows were written since the plan: topics up to id 61"):
        phase.complete_backfill(peopled, QUICK, BRIEF, **complete)
    phase.plan_backfill(peopled, QUICK, BRIEF, **plan, no_live_writers=True)
    phase.complete_backfill(peopled, QUICK, BRIEF, **complete)
    phase.plan_backfill(peopled, QUICK, BRIEF, **plan, no_live_writers=True)
    with application(peopled) as writer:
        late = BRIEF.replaced(sleep=lambda _: late_topic(writer))
        with pytest.raises(PreconditionError, match="topics written without a proposal"):
            phase.complete_backfill(peopled, QUICK, late, **complete)


def late_topic(writer: Connection) -> None:
    writer.execute("INSERT INTO topics (name, description) VALUES (gen_random_uuid()::text, '')")


def test_a_backfill_beside_a_captured_writer_completes(peopled: Database, rows: Connection) -> None:
    fill(peopled)
    kept(rows, "data_quality", findings=[])
    with writing(peopled):
        switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
        phase.plan_backfill(peopled, QUICK, BRIEF, partition_rows=100, max_partitions=200, no_live_writers=False)
        phase.complete_backfill(peopled, QUICK, BRIEF, no_live_writers=False, reports={})
    assert count(rows, UNLINKED) == 0
    assert broken_rules(rows) == {}
    assert make_plan(rows, partition_rows=100, max_partitions=200)["topic"].linked > 60


def test_the_probe_of_the_capture_leaves_nothing_and_fails_without_it(peopled: Database, rows: Connection) -> None:
    install(peopled)
    assert captured.probe(peopled)["captured"] == 1
    assert count(rows, "SELECT count(*) FROM topics") == 0
    assert count(rows, "SELECT count(*) FROM migration.capture_log") == 0
    rows.execute("ALTER TABLE topic_atoms DISABLE TRIGGER USER")
    with pytest.raises(VerificationError, match="their proposals are missing or differ"):
        captured.probe(peopled)


def test_a_writer_that_triggers_do_not_see_is_swept(peopled: Database, rows: Connection) -> None:
    install(peopled)
    with pytest.raises(PreconditionError, match="phase_3_completion"):
        sweep_stragglers(peopled, QUICK)
    completed(peopled, rows)
    with application(peopled) as writer, application(peopled) as other:
        writer.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('a', 'held', '', false)")
        with writer.transaction():
            writer.execute("SELECT 1 FROM atom_proposals FOR UPDATE")
            other.execute("INSERT INTO topics (name, description) VALUES ('related', '')")
            other.execute("INSERT INTO topic_atoms (topic_id, atom_id) SELECT topics.id, atoms.id FROM topics, atoms")
        writer.execute("SET session_replication_role = replica")
        late_topic(writer)
        late_topic(writer)
    assert count(rows, "SELECT count(*) FROM atom_proposals WHERE proposed_topic_ids = '[]'") == 1
    assert sweep_stragglers(peopled, QUICK) == 2
    assert sweep_stragglers(peopled, QUICK) == 0
    assert count(rows, "SELECT count(*) FROM atom_proposals WHERE jsonb_array_length(proposed_topic_ids) = 1") == 1
    assert captured.totals(rows)["capture_failures"] == 0
    assert broken_rules(rows) == {}


def test_a_service_sweeps_stragglers_until_dual_write_is_rolled_back(
    peopled: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "SWEEP_SECONDS", 0.05)
    install(peopled)
    with application(peopled) as writer, service.sweeping(peopled, QUICK):
        late_topic(writer)
        completed(peopled, rows)
        writer.execute("SET session_replication_role = replica")
        late_topic(writer)
        until(rows, "SELECT count(*) = 2 FROM topics WHERE migrated_from_proposal_id IS NOT NULL")
        retried(lambda: rollback_dual_write(peopled, Flags(), PATIENT, reason="a test", limits=QUICK))
        assert run_status(rows) == "running"
        late_topic(writer)
        with pytest.raises(PreconditionError, match="not complete"):
            retried(lambda: sweep_stragglers(peopled, QUICK))
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 2
    assert [one for one in caplog.records if one.levelname == "WARNING"] == []


def retried(work: Callable[[], object]) -> None:
    """Repeats it while a sweep runs."""
    while True:
        try:
            work()
        except BusyError:
            continue
        return


def test_one_process_sweeps_at_a_time(peopled: Database, rows: Connection) -> None:
    completed(peopled, rows)
    with advisory_lock(rows, completion.SWEEP), pytest.raises(BusyError, match="sweep of stragglers"):
        sweep_stragglers(peopled, QUICK)


def test_a_sweep_without_work_is_in_no_rollbacks_way(peopled: Database, rows: Connection) -> None:
    completed(peopled, rows)
    with advisory_lock(rows, BACKFILL):
        assert sweep_stragglers(peopled, QUICK) == 0
        rows.execute("INSERT INTO topics (name, description) VALUES ('late', '')")
        with pytest.raises(BusyError, match="backfill"):
            sweep_stragglers(peopled, QUICK)


def test_dual_write_that_was_switched_off_meanwhile_is_noticed_at_the_end(peopled: Database, rows: Connection) -> None:
    fill(peopled)
    kept(rows, "data_quality", findings=[])
    switch.switch_on(peopled, Flags(), PATIENT, reason="a test", mode="database")
    phase.plan_backfill(peopled, QUICK, BRIEF, partition_rows=100, max_partitions=200, no_live_writers=False)
    switch.switch_off(peopled, Flags(), reason="a test")
    with pytest.raises(PreconditionError, match="it has been off since"):
        phase.complete_backfill(peopled, QUICK, BRIEF, no_live_writers=False, reports={})


def test_the_lag_of_stragglers_is_measured(peopled: Database, rows: Connection) -> None:
    completed(peopled, rows)
    gate = next(gate for gate in GATES if gate.metric == "straggler_lag")
    now = peopled.now()
    window = Window(peopled, rows, now - timedelta(days=1), now + timedelta(seconds=60))
    assert measure(gate, window).interval == Interval.exact(0.0)
    rows.execute("INSERT INTO topics (name, description, created_at) VALUES ('late', '', %s)", (now,))
    measured = measure(gate, window)
    assert (measured.interval, measured.sample) == (Interval.exact(60.0), 1)


def completed(database: Database, rows: Connection) -> None:
    """A backfill of nothing, with its plan."""
    kept(rows, "data_quality", findings=[])
    phase.plan_backfill(database, QUICK, BRIEF, partition_rows=100, max_partitions=200, no_live_writers=True)
    phase.complete_backfill(database, QUICK, BRIEF, no_live_writers=True, reports={})


@pytest.mark.parametrize("seed", [1, 2])
def test_no_statement_fails_and_no_row_is_missed_while_the_phases_run_and_are_rolled_back(
    any_expanded: Database, seed: int
) -> None:
    database = any_expanded
    fill(database)
    with database.connect("test") as rows:
        kept(rows, "data_quality", findings=[])
        with Applications(database, seed) as applications:
            switch.switch_on(database, Flags(), PATIENT, reason="a test")
            phase.plan_backfill(database, QUICK, BRIEF, partition_rows=100, max_partitions=200, no_live_writers=False)
            for part in partitions(rows):
                backfill_partition(database, part, QUICK)
            phase.complete_backfill(database, QUICK, BRIEF, no_live_writers=False, reports={})
            applications.wait(60)
        sweep_stragglers(database, QUICK)
        assert applications.failures == []
        assert broken_rules(rows).keys() <= {
            "proposed_topics_match_relations"
        }  # a relation that a batch could not see yet
        assert count(rows, CAPTURED_WITH_OTHER_TOPICS) == 0
        assert captured.totals(rows)["captured_rows"] > 10
        assert count(rows, "SELECT count(*) FROM migration.capture_log WHERE sqlstate NOT IN ('55P03')") == 0
        before = legacy_values(rows)
        with Applications(database, 100 + seed) as applications:
            rollback_backfill(database, reason="a test", limits=QUICK)
            applications.wait(10)
            rollback_dual_write(database, Flags(), PATIENT, reason="a test", limits=QUICK)
            applications.wait(10)
            rollback_schema(database, LIMITS, reason="a test")
            applications.wait(10)
        assert applications.failures == []
        after = legacy_values(rows)
        for table, old in before.items():
            assert [row for row in after[table] if row["id"] <= old[-1]["id"]] == old
        assert count(rows, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'knowledge_migration%'") == 0
