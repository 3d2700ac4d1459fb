"""Real pressure on a server of its own slows the backfill, each with its reason in the ledger, and releases it again."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any, get_args

import psycopg
import pytest

from knowledge_migration.engine.backfill import speed
from knowledge_migration.engine.backfill.control import Throttle, set_control
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.runner import PartitionResult, backfill_partition
from knowledge_migration.engine.backfill.speed import PressureError, present_speed
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.pressure import SignalName
from knowledge_migration.settings import BackfillSettings, SchemaChangeSettings
from knowledge_migration_tests.engine.backfill.backfilling import at_the_same_time, count, fill
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.own_server import own_server, standby
from knowledge_migration_tests.support.roles import role, run

TOPICS = Partition("topic", "000000000001", 0, 100)
ATOMS = Partition("atom", "000000000001", 0, 1_000)
SIGNALS: tuple[str, ...] = get_args(SignalName)
EMIT = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 2000000))"
END_THE_BACKFILL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% backfill topic'"
)
NEW_WAL_FILE = "SELECT pg_logical_emit_message(true, 'test', 'x') UNION ALL SELECT pg_switch_wal()"


@pytest.fixture(scope="module")
def own(server: EmbeddedServer) -> Iterator[Database]:
    """A server with an archive, after phase 1."""
    with own_server(server, "archive_mode=on") as database:
        with database.connect("test") as connection:
            connection.execute(text_of("legacy/schema"))
        schema.upgrade(database, SchemaChangeSettings())
        yield database


@pytest.fixture
def operator(own: Database) -> Iterator[Connection]:
    """A session on it with sixty topics without proposals."""
    with own.connect("operator") as connection:
        fill(own)
        yield connection
        connection.execute(
            "SET session_replication_role = replica; TRUNCATE topics, atoms, topic_proposals, atom_proposals, "
            "knowledge_extraction_runs, migration.backfill_batch, migration.backfill_speed RESTART IDENTITY CASCADE; "
            "UPDATE migration.backfill_control SET paused = false, rate_limit_per_second = NULL"
        )


def watching(*names: SignalName, **limits: float) -> BackfillSettings:
    """The automatic rate with these signals only; they have these limits."""
    wanted: dict[str, float | None] = {"soft": None, "hard": None, "critical": None, **limits}
    return BackfillSettings(
        disabled_signals=[name for name in SIGNALS if name not in names],
        signal_limits=dict.fromkeys(names, wanted),
        server_cores=1,
        control_interval_seconds=0.1,
    )


def changes(connection: Connection) -> list[tuple[str | None, str, float, str]]:
    """The ledger: signal, grade, level and reason of each change."""
    rows = connection.execute("SELECT signal, grade, level, reason FROM migration.backfill_speed ORDER BY id")
    return [(row["signal"], row["grade"], row["level"], row["reason"]) for row in rows]


def level(connection: Connection) -> float | None:
    """The level that holds now; None before the first reading."""
    recorded = changes(connection)
    return recorded[-1][2] if recorded else None


def reason_for(connection: Connection, signal: SignalName, grade: str) -> str:
    """Waits until the ledger has a change for that signal; returns its reason."""

    def found() -> list[str]:
        return [reason for name, kind, _, reason in changes(connection) if (name, kind) == (signal, grade)]

    comes_true(lambda: bool(found()))
    return found()[0]


def linked(connection: Connection) -> int:
    """Topics with a proposal."""
    row = connection.execute("SELECT count(migrated_from_proposal_id) AS n FROM topics").fetchone()
    assert row
    return int(row["n"])


def assert_held_and_released(
    operator: Connection, running: "Future[PartitionResult]", signal: SignalName, release: Callable[[], object]
) -> str:
    """The run waits for that signal, and completes after its release; returns the reason."""
    reason = reason_for(operator, signal, "hard")
    assert not running.done()
    release()
    assert running.result(timeout=60).remaining == 0
    levels = {kind: level for _, kind, level, _ in changes(operator)}
    assert levels["hard"] == 0
    assert levels["none"] > 0
    assert linked(operator) == 60
    return reason


@contextmanager
def started(own: Database, limits: BackfillSettings) -> "Iterator[Future[PartitionResult]]":
    """The backfill of the topics, in a thread; a test that fails ends its session."""
    with at_the_same_time(lambda: backfill_partition(own, TOPICS, limits)) as running:
        try:
            yield running
        except BaseException:
            with own.connect("test") as connection:
                connection.execute(END_THE_BACKFILL)
            raise


def test_a_replica_that_does_not_replay_holds_it(server: EmbeddedServer, own: Database, operator: Connection) -> None:
    with standby(server, own) as replica, replica.connect("test") as session:
        session.execute("SELECT pg_wal_replay_pause()")

        def behind() -> bool:
            operator.execute(EMIT)
            row = operator.execute("SELECT replay_lag > '1 second' AS far FROM pg_stat_replication").fetchone()
            return bool(row and row["far"])

        comes_true(behind)
        with started(own, watching("replay_lag", "replay_behind", hard=0.9)) as running:
            reason = assert_held_and_released(
                operator,
                running,
                next(name for name in ("replay_lag", "replay_behind") if signalled(operator, name)),
                lambda: session.execute("SELECT pg_wal_replay_resume()"),
            )
        assert "of walreceiver is " in reason
        assert "(hard limit 0.9)" in reason


def signalled(connection: Connection, *names: str) -> bool:
    """Waits until the ledger names a signal; whether it is one of these."""
    comes_true(lambda: any(name for name, *_ in changes(connection)))
    return any(name in names for name, *_ in changes(connection))


def test_a_slot_without_a_consumer_holds_it(own: Database, operator: Connection) -> None:
    operator.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    operator.execute(EMIT)
    with started(own, watching("slot_wal", hard=1)) as running:
        reason = assert_held_and_released(
            operator, running, "slot_wal", lambda: operator.execute("SELECT pg_drop_replication_slot('forgotten')")
        )
    assert reason.startswith("slot_wal of forgotten is ")


def test_a_critical_limit_stops_the_run_and_the_next_run_resumes(own: Database, operator: Connection) -> None:
    operator.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    operator.execute(EMIT)
    limits = watching("slot_wal", critical=1)
    with pytest.raises(
        PressureError,
        match=r"stopped: slot_wal of forgotten is [\d.]+ MB \(critical limit 1\).* pg_drop_replication_slot",
    ):
        backfill_partition(own, TOPICS, limits)
    assert linked(operator) == 0
    operator.execute("SELECT pg_drop_replication_slot('forgotten')")
    assert backfill_partition(own, TOPICS, limits).remaining == 0


def test_an_archive_command_that_fails_holds_it(own: Database, operator: Connection) -> None:
    def archive(command: str) -> None:
        operator.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
        operator.execute("SELECT pg_reload_conf()")

    def fails() -> bool:
        row = operator.execute("SELECT failed_count FROM pg_stat_archiver").fetchone()
        return bool(row and row["failed_count"])

    archive("false")
    operator.execute(NEW_WAL_FILE)
    comes_true(fails)
    with started(own, watching("archive_queue", hard=1)) as running:
        assert_held_and_released(operator, running, "archive_queue", lambda: archive("true"))


def test_slower_requests_of_the_service_hold_it(own: Database, operator: Connection) -> None:
    def requests(seconds: float, ago: str) -> None:
        operator.execute(
            "INSERT INTO migration.service_measurement SELECT 'a process', now() - %(ago)s::interval, 'extract', 'direct', "
            "20, 0, 0, 0, 20 * ln(%(seconds)s::float8), 0, ARRAY[20]",
            {"seconds": seconds, "ago": ago},
        )

    requests(0.1, "30 minutes")
    set_control(operator, paused=True)
    with started(own, watching("service_slowdown", hard=3)) as running:
        comes_true(lambda: count(operator, "SELECT count(*) FROM knowledge_extraction_runs") == 1)
        requests(0.5, "0")
        reason_for(operator, "service_slowdown", "hard")
        set_control(operator, paused=False)
        release = "DELETE FROM migration.service_measurement WHERE at > now() - interval '5 minutes'"
        reason = assert_held_and_released(operator, running, "service_slowdown", lambda: operator.execute(release))
    operator.execute("DELETE FROM migration.service_measurement")
    assert reason.startswith("service_slowdown of extract direct is 5 times the hour before (hard limit 3)")


def test_a_long_transaction_holds_it(own: Database, operator: Connection) -> None:
    with own.connect("report") as report:
        report.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT FROM topics")
        with started(own, watching("oldest_snapshot", hard=0.01)) as running:
            reason = assert_held_and_released(operator, running, "oldest_snapshot", lambda: report.execute("COMMIT"))
        assert f"of pid {report.info.backend_pid} knowledge_migration report is" in reason


def test_a_batch_that_waits_for_a_lock_slows_it(own: Database, operator: Connection) -> None:
    with own.connect("holder") as holder, holder.transaction():
        holder.execute("LOCK TABLE topics IN SHARE MODE")
        with started(own, watching("waiting_batches", soft=1)) as running:
            reason_for(operator, "waiting_batches", "soft")
            holder.execute("ROLLBACK")
            assert running.result(timeout=60).remaining == 0


def test_sessions_that_wait_for_the_backfill_slow_it(own: Database, operator: Connection) -> None:
    set_control(operator, paused=True)
    update = "UPDATE topics SET icon = icon WHERE id = (SELECT min(id) FROM topics)"
    with (
        own.connect("backfill topic") as ours,
        own.connect("user", settings={"lock_timeout": "40000"}) as user,
        started(own, watching("blocked_sessions", soft=1)) as running,
    ):
        with ours.transaction():
            ours.execute(update)
            with at_the_same_time(lambda: user.execute(update)):
                reason = reason_for(operator, "blocked_sessions", "soft")
                ours.execute("ROLLBACK")
        comes_true(lambda: changes(operator)[-1][1] == "none")
        set_control(operator, paused=False)
        assert running.result(timeout=60).remaining == 0
    assert "blocked_sessions is 1 sessions (soft limit 1)" in reason


def test_active_sessions_slow_it_down_to_a_crawl_and_it_recovers(own: Database, operator: Connection) -> None:
    set_control(operator, paused=True)
    with ExitStack() as stack:
        busy = [stack.enter_context(own.connect("user")) for _ in range(3)]
        ended = [stack.enter_context(at_the_same_time(sleeping(session))) for session in busy]
        with started(own, watching("active_sessions", soft=3)) as running:
            comes_true(lambda: level(operator) == speed.FLOOR)
            for session in busy:
                session.cancel_safe()
            comes_true(lambda: (level(operator) or 0) > 0.2)
            set_control(operator, paused=False)
            assert running.result(timeout=60).remaining == 0
        assert all(isinstance(one.exception(), psycopg.errors.QueryCanceled) for one in ended)
    levels = [level for _, grade, level, _ in changes(operator) if grade == "soft"]
    assert levels == sorted(levels, reverse=True)


def sleeping(session: Connection) -> Callable[[], Any]:
    """Keeps a session active until it is cancelled."""
    return lambda: session.execute("SELECT pg_sleep(60)")


def test_a_locked_table_that_the_canary_reads_holds_it(own: Database, operator: Connection) -> None:
    with own.connect("holder") as holder, holder.transaction():
        holder.execute("LOCK TABLE atoms IN ACCESS EXCLUSIVE MODE")
        with started(own, watching("canary", hard=900)) as running:
            assert_held_and_released(operator, running, "canary", lambda: holder.execute("ROLLBACK"))


def test_a_signal_that_this_role_may_not_see_holds_it_until_it_is_granted_or_disabled(
    own: Database, operator: Connection
) -> None:
    with role(operator, "migrator") as limited, own.connect("user"):
        run(operator, "GRANT ALL ON ALL TABLES IN SCHEMA public, migration TO {}", "migrator")
        run(operator, "GRANT USAGE ON SCHEMA migration TO {}", "migrator")
        run(operator, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA migration TO {}", "migrator")
        with started(limited, watching("active_sessions", "archive_queue", soft=100)) as running:
            archive = reason_for(operator, "archive_queue", "unreadable")
            operator.execute("GRANT EXECUTE ON FUNCTION pg_ls_archive_statusdir() TO migrator")
            reason = reason_for(operator, "active_sessions", "unreadable")
            run(operator, "GRANT pg_read_all_stats TO {}", "migrator")
            assert running.result(timeout=60).remaining == 0
    assert (
        "cannot be read: GRANT pg_read_all_stats TO migrator, or disable it with MIGRATION_DISABLED_SIGNALS" in reason
    )
    assert "archive_queue cannot be read: GRANT pg_monitor TO migrator" in archive


def test_two_workers_share_one_speed_and_one_reading(own: Database, operator: Connection) -> None:
    set_control(operator, paused=True)
    limits = watching("slot_wal", soft=1_000_000)
    with (
        started(own, limits) as topics,
        at_the_same_time(lambda: backfill_partition(own, ATOMS, limits)) as atoms,
    ):
        comes_true(lambda: workers(operator) == 2)
        comes_true(lambda: level(operator) == 2)  # up to both without pauses
        set_control(operator, paused=False)
        assert (topics.result(timeout=60).remaining, atoms.result(timeout=60).remaining) == (0, 0)


def workers(connection: Connection) -> int:
    """How many sessions share the speed."""
    present = present_speed(connection)
    return present.workers if present else 0


def test_without_a_fresh_reading_no_batch_starts(own: Database, operator: Connection) -> None:
    operator.execute(text_of("pace/seed"))
    waits: list[str] = []
    ended = threading.Event()

    def stop(reason: str) -> None:
        waits.append(reason)
        ended.set()
        operator.execute("UPDATE migration.backfill_speed SET level = 1, read_at = clock_timestamp()")

    Throttle(watching("slot_wal"), stop).wait(operator)
    assert "have not been read for" in waits[0]


def test_the_ledger_keeps_the_newest_changes_only(
    own: Database, operator: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "KEPT_CHANGES", 3)
    set_control(operator, paused=True)
    with ExitStack() as stack:
        busy = stack.enter_context(own.connect("user"))
        stack.enter_context(at_the_same_time(sleeping(busy)))
        with started(own, watching("active_sessions", soft=1)) as running:
            comes_true(lambda: level(operator) == speed.FLOOR)
            busy.cancel_safe()
            set_control(operator, paused=False)
            assert running.result(timeout=60).remaining == 0
    assert len(changes(operator)) == 3
