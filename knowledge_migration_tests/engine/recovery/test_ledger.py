"""A ledger that somebody has damaged: what is wrong is told entry by entry, what the rows know is put back, and what no check
can judge any more is said. Entries that nobody has touched stay as they are."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_migration.engine.backfill import plan
from knowledge_migration.engine.backfill.plan import EVIDENCE
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BusyError, VerificationError
from knowledge_migration.engine.recovery import ledger
from knowledge_migration.engine.recovery.ledger import examine_ledger, recover_ledger
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned, drop
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    fill,
    gone,
    legacy_values,
)
from knowledge_migration_tests.recovering import recover

RUN = "migration.origin_proposal_id('knowledge_extraction_runs', 0)"
LEDGER = "SELECT * FROM migration.backfill_batch ORDER BY id"
WITH_MARKS = "SELECT xmin::text AS version, * FROM migration.backfill_batch ORDER BY id"
COPY = """
INSERT INTO migration.backfill_batch (
    entity, partition_key, extraction_run_id, after_id, through_id, linked_rows, seconds, committed_at
)
SELECT entity, partition_key, extraction_run_id, after_id, through_id, linked_rows, seconds, committed_at
FROM migration.backfill_batch
"""
FORGED = f"""
INSERT INTO migration.backfill_batch (entity, partition_key, extraction_run_id, after_id, through_id, linked_rows, seconds)
VALUES ('atom', 'forged', {RUN}, 5000, 6000, 700, 0.1)
"""  # noqa: S608


@pytest.fixture(scope="module")
def backfilled(server: EmbeddedServer) -> Iterator[Database]:
    """A database that is backfilled by a plan, in 2 batches of topics and 8 of atoms."""
    database = clone(server, EXPANDED_TEMPLATE)
    fill(database)
    with database.connect("test") as connection:
        plans = plan.make_plan(connection, partition_rows=100, max_partitions=200)
        evidence.record(connection, EVIDENCE, {name: made.to_evidence() for name, made in plans.items()})
    backfill(database)
    yield database
    drop(server, database)


@pytest.fixture
def own(server: EmbeddedServer, backfilled: Database) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, backfilled.name) as database:
        yield database


@pytest.fixture
def rows(own: Database) -> Iterator[Connection]:
    """A session on the copy."""
    with own.connect("test") as connection:
        yield connection


def kinds(rows: Connection) -> Counter[str]:
    """What is wrong, by kind."""
    return Counter(one.kind for one in examine_ledger(rows).differences)


def repaired(database: Database, rows: Connection) -> ledger.LedgerRecovery:
    """Recovers, and proves that nothing is left to do, that a second time changes nothing, and that the rules hold."""
    done = recover_ledger(database, reason="a test")
    assert examine_ledger(rows).is_correct
    after = rows.execute(WITH_MARKS).fetchall()
    assert recover_ledger(database, reason="a test").report.is_correct
    assert rows.execute(WITH_MARKS).fetchall() == after
    assert count(rows, "SELECT sum(linked_rows) FROM migration.backfill_batch") == 460
    assert len({row["version"] for row in after}) == len(after)
    return done


def test_a_ledger_that_nobody_has_touched_is_whole_whatever_users_do(own: Database, rows: Connection) -> None:
    assert count(rows, "SELECT count(*) FROM migration.backfill_batch") == 10
    rows.execute("UPDATE atoms SET title = 'edited' WHERE id <= 100")
    rows.execute(
        "DELETE FROM topic_atoms WHERE atom_id BETWEEN 90 AND 260; DELETE FROM atoms WHERE id BETWEEN 90 AND 260"
    )
    before = rows.execute(WITH_MARKS).fetchall()
    assert examine_ledger(rows).is_correct
    recover_ledger(own, reason="a test")
    assert rows.execute(WITH_MARKS).fetchall() == before
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'recover ledger'") == 0


def test_missing_entries_are_put_back_from_the_rows(own: Database, rows: Connection) -> None:
    lost = rows.execute(
        "DELETE FROM migration.backfill_batch WHERE through_id IN (60, 100, 400) RETURNING *"
    ).fetchall()
    kept = rows.execute(WITH_MARKS).fetchall()
    legacy = legacy_values(rows)
    assert [(one.kind, one.entity, one.batch and one.batch.through_id) for one in examine_ledger(rows).differences] == [
        ("missing", "topic", 60),
        ("missing", "atom", 100),
        ("missing", "atom", 400),
    ]
    repaired(own, rows)
    found = rows.execute(LEDGER).fetchall()[len(kept) :]
    says = ("entity", "partition_key", "extraction_run_id", "after_id", "through_id", "linked_rows")
    assert [[row[name] for name in says] for row in found] == [[row[name] for name in says] for row in lost]
    assert rows.execute(WITH_MARKS).fetchall()[: len(kept)] == kept
    assert (legacy_values(rows), broken_rules(rows)) == (legacy, {})


def test_a_ledger_that_was_lost_as_a_whole_is_rebuilt(own: Database, rows: Connection) -> None:
    before = count(rows, "SELECT sum(linked_rows * through_id) FROM migration.backfill_batch")
    rows.execute("TRUNCATE migration.backfill_batch")
    assert kinds(rows) == {"missing": 10}
    done = repaired(own, rows)
    assert count(rows, "SELECT sum(linked_rows * through_id) FROM migration.backfill_batch") == before
    assert (done.report.uncertain_rows, broken_rules(rows)) == (0, {})
    assert [sentence.partition(" pairs")[0].split()[-1] for sentence in done.value_results] == ["60", "400"]


def test_doubled_entries_are_removed_and_the_first_stay(own: Database, rows: Connection) -> None:
    before = rows.execute(WITH_MARKS).fetchall()
    rows.execute(COPY)
    rows.execute(COPY + " WHERE through_id = 400 LIMIT 1")
    assert kinds(rows) == {"double": 11}
    repaired(own, rows)
    assert rows.execute(WITH_MARKS).fetchall() == before


@pytest.mark.parametrize(
    "change",
    [
        "linked_rows = 7",
        "linked_rows = 51",
        "after_id = 30",
        "through_id = 99",
        "through_id = 70, linked_rows = 20",
        "extraction_run_id = gen_random_uuid()",
        "after_id = 0, through_id = 9999",
    ],
)
def test_an_altered_entry_says_again_what_the_rows_tell(own: Database, rows: Connection, change: str) -> None:
    before = rows.execute(LEDGER).fetchall()
    rows.execute(f"UPDATE migration.backfill_batch SET {change} WHERE entity = 'atom' AND through_id = 50")  # noqa: S608
    assert kinds(rows) == {"altered": 1}
    repaired(own, rows)
    assert rows.execute(LEDGER).fetchall() == before
    assert broken_rules(rows) == {}


@pytest.mark.parametrize(
    "change", ["after_id = 200, through_id = 250", "committed_at = committed_at - interval '1 day'", "seconds = 1e300"]
)
def test_an_entry_that_cannot_be_told_to_be_of_a_batch_is_replaced(
    own: Database, rows: Connection, change: str
) -> None:
    rows.execute(f"UPDATE migration.backfill_batch SET {change} WHERE entity = 'atom' AND through_id = 50")  # noqa: S608
    assert kinds(rows) == {"unfounded": 1, "missing": 1}
    repaired(own, rows)
    assert (
        count(rows, "SELECT linked_rows FROM migration.backfill_batch WHERE entity = 'atom' AND through_id = 50") == 50
    )


def test_an_entry_that_claims_rows_that_are_not_linked_goes_and_the_audit_log_keeps_it(
    own: Database, rows: Connection
) -> None:
    before = rows.execute(WITH_MARKS).fetchall()
    rows.execute(FORGED)
    repaired(own, rows)
    assert rows.execute(WITH_MARKS).fetchall() == before
    (entry,) = rows.execute("SELECT * FROM migration.audit_log WHERE action = 'recover ledger'").fetchall()
    assert entry["reason"] == "a test"
    assert entry["after"]["repaired"][0]["recorded"] == "700 rows in ids 5001 to 6000"


def test_entries_written_together_mark_batches_again_so_that_the_checks_compare_by_rows(
    own: Database, rows: Connection
) -> None:
    """One UPDATE over the ledger makes the checks believe that the database was restored from a dump."""
    rows.execute("UPDATE migration.backfill_batch SET dagster_run_id = 'x'")
    rows.execute("UPDATE atom_proposals SET title = 'forged' WHERE id = migration.origin_proposal_id('atoms', 3)")
    with pytest.raises(VerificationError, match="restored from a dump"):
        broken_rules(rows)
    assert kinds(rows) == {"shared": 10}
    done = repaired(own, rows)
    assert done.report.uncertain_rows == 1  # its entry alone could have told that the row is as it was linked
    assert broken_rules(rows) == {}
    assert "1 left out because the row was changed since" in " ".join(done.value_results)


def test_a_wrong_copy_is_still_found_when_other_entries_were_lost(own: Database, rows: Connection) -> None:
    rows.execute("DELETE FROM migration.backfill_batch WHERE through_id = 400")
    rows.execute("UPDATE atom_proposals SET title = 'forged' WHERE id = migration.origin_proposal_id('atoms', 3)")
    done = repaired(own, rows)
    assert broken_rules(rows) == {"atom_proposal_values_equal_the_entity": 1}
    assert "1 row violates the rule" in " ".join(done.value_results)


def test_a_ledger_is_repaired_in_the_middle_of_a_backfill_that_was_killed_and_it_goes_on(
    expanded: Database,
) -> None:
    from knowledge_migration_tests.engine.backfill.process import process

    fill(expanded)
    with expanded.connect("test") as connection:
        with process(expanded) as child:
            child.batches(32)
            with pytest.raises(BusyError, match="backfill"):
                recover_ledger(expanded, reason="a test")
            child.kill()
        gone(connection)
        connection.execute("DELETE FROM migration.backfill_batch WHERE id % 2 = 0")
        connection.execute("UPDATE migration.backfill_batch SET linked_rows = 99 WHERE id % 3 = 0")
        recover_ledger(expanded, reason="a test")
        assert examine_ledger(connection).is_correct
        assert count(connection, "SELECT sum(linked_rows) FROM migration.backfill_batch") == 290
        backfill(expanded)
        assert broken_rules(connection) == {}
        assert count(connection, "SELECT sum(linked_rows) FROM migration.backfill_batch") == 460


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        ("status = 'failed'", "completed"),
        ("status = 'pending'", "completed"),
        ("status = 'running'", "completed"),
        ("status = 'failed', completed_at = NULL", "running"),
        ("completed_at = NULL", "running"),
    ],
)
def test_the_run_says_again_what_the_rows_tell(own: Database, rows: Connection, damage: str, status: str) -> None:
    rows.execute(f"UPDATE knowledge_extraction_runs SET {damage} WHERE id = {RUN}")  # noqa: S608
    repaired(own, rows)
    assert rows.execute("SELECT status FROM knowledge_extraction_runs").fetchall() == [{"status": status}]
    backfill(own)
    assert broken_rules(rows) == {}


def test_a_run_that_says_completed_while_rows_wait_is_running_again(own: Database, rows: Connection) -> None:
    rows.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id IN (7, 8)")
    report = examine_ledger(rows)
    assert (report.run_status, report.actual_run_status, report.differences) == ("completed", "running", ())
    repaired(own, rows)
    backfill(own)
    assert broken_rules(rows) == {}


def test_a_run_that_was_deleted_is_begun_anew(own: Database, rows: Connection) -> None:
    rows.execute("SET session_replication_role = replica")
    rows.execute("DELETE FROM knowledge_extraction_runs")
    recover_ledger(own, reason="a test")
    assert rows.execute("SELECT status FROM knowledge_extraction_runs").fetchall() == [{"status": "running"}]
    backfill(own)
    assert broken_rules(rows) == {}


@pytest.mark.parametrize("options", [(), ("--single-transaction",)], ids=["restored", "restored in one transaction"])
def test_in_a_restored_database_nothing_is_repaired_for_the_checks_would_believe_it(
    server: EmbeddedServer, own: Database, rows: Connection, tmp_path: Path, options: tuple[str, ...]
) -> None:
    rows.execute("UPDATE atom_proposals SET title = 'forged' WHERE id = migration.origin_proposal_id('atoms', 3)")
    target = server.ensure_database(f"{own.name}_restored")
    subprocess.run([server.bin_path / "pg_dump", "-Fc", "-f", tmp_path / "dump", "-d", own.conninfo], check=True)
    restore = [server.bin_path / "pg_restore", "-e", *options, "-d", target.conninfo, tmp_path / "dump"]
    subprocess.run(restore, check=True)
    with target.connect("test") as connection:
        connection.execute("DELETE FROM migration.backfill_batch WHERE through_id = 400")
        assert examine_ledger(connection).restored
        with pytest.raises(VerificationError, match="restored from a dump"):
            recover_ledger(target, reason="a test")
        assert count(connection, "SELECT count(*) FROM migration.backfill_batch") == 9
        connection.execute("INSERT INTO topics (name, description) VALUES ('new', '')")
        backfill(target)
        with pytest.raises(VerificationError, match="restored from a dump"):
            recover_ledger(target, reason="a test")
        with pytest.raises(VerificationError, match="restored from a dump"):
            broken_rules(connection)
        rollback_backfill(target, reason="to make the marks anew", limits=QUICK)
        backfill(target)
        assert examine_ledger(connection).is_correct
        assert broken_rules(connection) == {}
    drop(server, target)


def test_killed_in_the_middle_a_second_run_repairs_the_rest(
    own: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.execute("TRUNCATE migration.backfill_batch")
    monkeypatch.setattr(ledger, "CHANGES_PER_TRANSACTION", 3)
    repair, calls = ledger._repair, iter(range(9))

    def dies(*args: object) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt
        repair(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_repair", dies)
        with pytest.raises(KeyboardInterrupt):
            recover_ledger(own, reason="a test")
    assert kinds(rows) == {"missing": 4}
    repaired(own, rows)


def test_before_the_backfill_there_is_nothing_to_repair(expanded: Database) -> None:
    with expanded.connect("test") as connection, advisory_lock(connection, "something else"):
        report = examine_ledger(connection)
    assert (report.is_correct, report.actual_run_status) == (True, None)
    with expanded.connect("test") as connection, advisory_lock(connection, BACKFILL), pytest.raises(BusyError):
        recover_ledger(expanded, reason="a test")


def test_the_command_shows_asks_and_repairs(own: Database, rows: Connection, tmp_path: Path) -> None:
    rows.execute("DELETE FROM migration.backfill_batch WHERE through_id = 400")
    rows.execute(FORGED)
    tried = recover(own, "ledger", "--dry-run", home=tmp_path)
    assert (tried.returncode, "unfounded" in tried.stdout, "missing" in tried.stdout) == (0, True, True), tried.stderr
    assert recover(own, "ledger", "--reason", "a test", home=tmp_path, answer="n\n").returncode == 1
    assert recover(own, "ledger", "--yes", home=tmp_path).returncode == 2  # a reason is required
    assert kinds(rows) == {"missing": 1, "unfounded": 1}
    done = recover(own, "ledger", "--reason", "a test", "--yes", home=tmp_path)
    assert (done.returncode, "400 pairs of atoms compared" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "nothing to repair" in recover(own, "ledger", "--dry-run", home=tmp_path).stdout
