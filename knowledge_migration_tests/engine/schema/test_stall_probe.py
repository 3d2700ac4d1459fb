"""The probe tells a stall by a lock from a slow machine, tells its own failures, and stays small over hours."""

import time
from collections.abc import Callable

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema.stall_probe import Readings, StallProbe, probing


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for what is about to happen; fails when it does not within a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.005)


def readers(connection: Connection) -> list[int]:
    """The pids of the probe's sessions."""
    return [
        row["pid"]
        for row in connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'knowledge_migration stall probe'"
        )
    ]


def waiting(connection: Connection) -> int:
    """How many sessions of this database wait for a lock."""
    row = connection.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    assert row is not None
    return int(row["n"])


def test_a_lock_on_a_table_shows_as_a_stall_and_not_in_the_control(database: Database, connection: Connection) -> None:
    with database.connect("blocker") as blocker, probing(database, ("topics", "atoms")) as probe:
        wait_until(lambda: probe.reads.count > 10 and probe.controls.count > 10)
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE atoms")
        wait_until(lambda: waiting(connection) > 0)
        began, controls = time.monotonic(), probe.controls.count
        wait_until(lambda: probe.controls.count > controls + 20)
        held_seconds = time.monotonic() - began
        blocker.execute("COMMIT")
        done = probe.reads.count
        wait_until(lambda: probe.reads.count > done + 2)

    assert probe.failures == []
    assert probe.slowest_read_ms >= 1000 * held_seconds
    assert probe.stall_ms > 0  # the read lasted as long as 20 controls, and the slowest of them explains one
    evidence = probe.to_evidence()
    assert (evidence["tables"], evidence["reads"]) == (["topics", "atoms"], probe.reads.count)
    assert evidence["stall_ms"] == round(probe.stall_ms, 1)


def test_readers_that_fail_are_told(database: Database, connection: Connection) -> None:
    with probing(database, ("topics",)) as probe:
        wait_until(lambda: len(readers(connection)) == 2)
        for pid in readers(connection):
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        wait_until(lambda: len(probe.failures) == 2)

    assert all(": " in failure for failure in probe.failures)
    assert probe.to_evidence()["failed_reads"] == probe.failures


def test_a_table_that_is_missing_is_told(database: Database) -> None:
    with probing(database, ("no_such_table",)) as probe:
        wait_until(lambda: bool(probe.failures))

    assert len(probe.failures) == 1
    assert "no_such_table" in probe.failures[0]
    assert probe.reads.count == 0


def test_a_server_that_is_away_is_told(database: Database) -> None:
    with probing(database.sibling("no_such_database"), ("topics",)) as probe:
        pass

    assert [failure.split(":")[0] for failure in probe.failures] == ["UnreachableError"] * 2


def test_the_body_s_own_error_is_not_hidden_and_the_readers_end(database: Database, connection: Connection) -> None:
    with pytest.raises(RuntimeError, match="the schema change failed"), probing(database, ("topics",)):
        raise RuntimeError("the schema change failed")

    wait_until(lambda: readers(connection) == [])


def test_what_the_slowest_control_beside_it_explains_is_no_stall() -> None:
    probe = StallProbe(("topics",))
    for begin, end in ((0.0, 0.001), (1.0, 1.3), (2.0, 2.4), (3.0, 3.2)):
        probe.reads.add(begin, end)
    for begin, end in ((0.9, 1.05), (1.1, 1.2), (2.1, 2.11), (2.4, 9.0)):
        probe.controls.add(begin, end)

    assert probe.controls.slowest_beside((1.0, 1.3)) == pytest.approx(0.15)
    assert probe.stall_ms == pytest.approx(390)
    assert probe.slowest_read_ms == pytest.approx(400)


def test_a_control_that_was_slow_at_another_time_explains_nothing() -> None:
    probe = StallProbe(("topics",))
    probe.controls.add(0.0, 5.0)
    probe.reads.add(5.0, 5.5)

    assert probe.stall_ms == pytest.approx(500)


def test_hours_of_probing_are_kept_as_their_slow_spans_only() -> None:
    probe = StallProbe(("topics",))
    for number in range(400_000):
        probe.reads.add(float(number), number + 0.001)
        probe.controls.add(float(number), number + 0.001)
    for number in range(400_000, 440_000):
        probe.reads.add(float(number), number + 0.3)
        probe.controls.add(float(number), number + 0.1)

    assert (probe.reads.count, len(probe.reads.slow)) == (440_000, 40_000)
    assert probe.stall_ms == pytest.approx(200)


def test_no_reading_is_no_stall() -> None:
    assert (Readings().slowest_beside((0.0, 1.0)), StallProbe(()).stall_ms) == (0.0, 0.0)
