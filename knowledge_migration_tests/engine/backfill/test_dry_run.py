"""A dry run changes nothing in any table, holds no row afterwards, and forecasts what a real run would meet."""

import pytest

from knowledge_migration.engine.backfill.dry_run import dry_run
from knowledge_migration.engine.backfill.plan import EntityPlan, make_plan
from knowledge_migration.engine.backfill.quarantine import quarantined
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, fill

NO_PLAN = {name: EntityPlan(name, 0, 0, 0, ()) for name in ("topic", "atom")}


def checksums(connection: Connection) -> dict[str, object]:
    """A checksum of every row, system columns of row versions included, of every table of the user's and of ours."""
    tables = connection.execute(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('public', 'migration')"
    ).fetchall()
    version = "row.ctid::text || row.xmin::text || row::text"
    query = f"SELECT count(*) AS rows, sum(hashtextextended({version}, 0)) AS hash FROM {{}} AS row"  # noqa: S608
    return {table["name"]: connection.execute(query.format(table["name"])).fetchone() for table in tables}


def plans(connection: Connection) -> dict[str, EntityPlan]:
    """The plan of both tables, in small partitions."""
    return make_plan(connection, partition_rows=100, max_partitions=200)


def test_it_changes_no_row_of_any_table(any_expanded: Database) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        connection.execute("UPDATE atoms SET confidence = 7 WHERE id = 120")
        before = checksums(connection)
        forecasts = dry_run(any_expanded, plans(connection), QUICK, sample_batches=10)
        assert checksums(connection) == before
        assert [forecast.failing_batches for forecast in forecasts] == [0, 1]


def test_it_changes_nothing_in_a_half_done_backfill(expanded: Database, session: Connection) -> None:
    backfill(expanded)
    session.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id < 90")
    before = checksums(session)
    forecasts = dry_run(expanded, plans(session), QUICK)
    assert checksums(session) == before
    assert [(one.rows_to_do, one.sampled_rows) for one in forecasts] == [(0, 0), (89, 89)]


def test_it_samples_as_many_batches_as_asked_and_forecasts_from_them(expanded: Database, session: Connection) -> None:
    limits = QUICK.__class__(batch_size=20, rate_limit_per_second=5)
    topics, atoms = dry_run(expanded, plans(session), limits, sample_batches=3)
    assert (topics.sampled_rows, atoms.sampled_rows) == (60, 60)
    assert atoms.rows_per_second > 0
    assert atoms.wal_bytes == pytest.approx(atoms.wal_bytes_per_row * 400)
    assert atoms.unlimited_seconds == pytest.approx(400 / atoms.rows_per_second)
    assert atoms.limited_seconds == pytest.approx(max(400 / 100, atoms.unlimited_seconds))


def test_at_the_automatic_rate_the_batches_of_the_sample_grow(expanded: Database, session: Connection) -> None:
    limits = QUICK.__class__(batch_size=10, target_batch_seconds=60)
    _, atoms = dry_run(expanded, plans(session), limits, sample_batches=3)
    assert atoms.sampled_rows == 10 + 20 + 40
    assert atoms.limited_seconds == atoms.unlimited_seconds


def test_rows_that_lie_far_apart_do_not_make_one_poisoned_row_fail_every_batch(
    expanded: Database, session: Connection
) -> None:
    session.execute(
        "DELETE FROM topic_atoms; UPDATE atoms SET id = id * 1000; UPDATE atoms SET confidence = 7 WHERE id = 20000"
    )
    forecast = dry_run(expanded, make_plan(session, partition_rows=10**6, max_partitions=9), QUICK, sample_batches=5)[1]
    assert forecast.failing_batches == 1
    assert forecast.sampled_rows == 125


def test_a_sample_in_which_every_batch_fails_is_an_error_not_a_forecast_of_no_time(
    expanded: Database, session: Connection
) -> None:
    session.execute("UPDATE atoms SET confidence = 7")
    with pytest.raises(
        MigrationError, match=r"None of the \d+ sampled batches of atoms .*valid_confidence.*data_quality_report"
    ):
        dry_run(expanded, plans(session), QUICK, sample_batches=2)
    assert quarantined(session) == []


def test_rows_that_users_hold_do_not_hold_it_up(expanded: Database, session: Connection) -> None:
    with expanded.connect("user") as user, user.transaction():
        user.execute("UPDATE topics SET icon = icon WHERE id < 50")
        assert dry_run(expanded, plans(session), QUICK)[0].sampled_rows == 11


def test_there_is_none_before_phase_1(database: Database) -> None:
    with pytest.raises(PreconditionError, match="Run phase 1"):
        dry_run(database, NO_PLAN, QUICK)
