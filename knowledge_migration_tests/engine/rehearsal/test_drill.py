"""The drill runs every rollback on a clone, detects differences, and leaves production and the server unchanged."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from knowledge_migration.engine.cutover.readiness import drill_outcome
from knowledge_migration.engine.foundation import evidence, fingerprint
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.rehearsal.drill import (
    ROLLBACKS,
    CloneDrill,
    Drill,
    DrilledRollback,
    Outcome,
    record,
    run_drill,
)
from knowledge_migration.engine.rehearsal.plan import Plan, present_plan
from knowledge_migration.engine.rehearsal.rehearsal import Rehearsal, rehearse, require_rehearsed
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION
from knowledge_migration.settings import BackfillSettings, SchemaChangeSettings, Settings
from knowledge_migration_tests.conftest import clone, cloned, drop
from knowledge_migration_tests.engine.backfill.backfilling import backfill, count
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.engine.rehearsal.conftest import back_up, filled_and_backed_up, options

CLONES = "SELECT count(*) FROM pg_database WHERE datname LIKE 'knowledge_migration_%'"
PLAN = present_plan({"migration_batch_size": 100})
PATHS = ["partial", "instant", "replay or park", "dual write", "backfill", "schema", "full"]


@pytest.fixture(scope="module")
def template(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A legacy database with its evidence store and a verified backup."""
    database = clone(server)
    filled_and_backed_up(database, server, tmp_path_factory.mktemp("backup"))
    yield database
    drop(server, database)


@pytest.fixture
def backed_up(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, template.name) as copy:
        yield copy


@pytest.fixture
def rows(backed_up: Database) -> Iterator[Connection]:
    with backed_up.connect("test") as connection:
        yield connection


@dataclass(frozen=True)
class Rehearsed:
    """A rehearsal of every rollback, the lines that it reported, and production's rows before it."""

    database: Database
    done: Rehearsal
    told: list[str]
    before: fingerprint.Fingerprint


@pytest.fixture(scope="module")
def rehearsed(server: EmbeddedServer, template: Database) -> Iterator[Rehearsed]:
    """It takes 8 s of CPU time; the tests only read."""
    told: list[str] = []
    with cloned(server, template.name) as copy:
        with copy.connect("test template") as connection:
            before = fingerprint.take(connection)
        done = rehearse(copy, options(server), PLAN, batch_size=100, rate_limit_per_second=1, progress=told.append)
        yield Rehearsed(copy, done, told, before)


def test_every_rollback_is_equal_and_in_time_and_production_is_only_read(rehearsed: Rehearsed) -> None:
    done = rehearsed.done.drill
    assert [(path.path, path.differences) for path in done.paths] == [(name, ()) for name in PATHS]
    assert done.passed
    by_name = {path.path: path for path in done.paths}
    assert by_name["backfill"].rows == 460
    assert by_name["dual write"].rows > 0
    assert by_name["replay or park"].rows > 0
    assert [timed.phase for timed in done.phases] == ["schema", "dual write", "backfill", "cutover"]
    with rehearsed.database.connect("test") as rows:
        now = fingerprint.take(rows, like=rehearsed.before)
        assert fingerprint.differences(rehearsed.before, now) == []
        assert count(rows, "SELECT count(*) FROM pg_tables WHERE tablename = 'topic_proposals'") == 0
        assert count(rows, CLONES) == 0
        assert drill_outcome(rows, 7).passed


def test_without_triggers_the_backfill_writes_nowhere_else(rehearsed: Rehearsed) -> None:
    assert rehearsed.done.drill.side_effects == ()
    assert not any("also writes" in line for line in rehearsed.told)


def test_a_rehearsal_binds_its_plan_and_forecasts_production(rehearsed: Rehearsed) -> None:
    database = rehearsed.database
    (backfilled,) = [one for one in rehearsed.done.forecasts if one.phase == "backfill"]
    assert backfilled.rows >= 460
    assert backfilled.seconds_in_production == pytest.approx(backfilled.rows / 100)
    assert backfilled.seconds_per_thousand
    other = present_plan({"migration_batch_size": 200})
    with database.connect("test") as rows:
        hashes = rows.execute(
            "SELECT kind, plan_hash FROM migration.evidence WHERE plan_hash IS NOT NULL ORDER BY kind"
        )
        expected = [("rollback_drill", PLAN.hash), ("staging_rehearsal", PLAN.hash)]
        assert [tuple(row.values()) for row in hashes] == expected
        require_rehearsed(database, PLAN, "phase 1", skip_rehearsal_reason=None)
        with pytest.raises(PreconditionError, match="differences: setting migration_batch_size"):
            require_rehearsed(database, other, "phase 1", skip_rehearsal_reason=None)
        require_rehearsed(database, other, "phase 1", skip_rehearsal_reason="tried elsewhere")
        entries = rows.execute(
            "SELECT subject, reason FROM migration.audit_log WHERE action = 'override rehearsal'"
        ).fetchall()
    assert [tuple(entry.values()) for entry in entries] == [("phase 1", "tried elsewhere")]


def test_rows_for_the_quarantine_are_listed_by_reason_and_do_not_end_the_rehearsal(
    database: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    filled_and_backed_up(
        database,
        server,
        tmp_path,
        "UPDATE atoms SET confidence = 1.5 WHERE id IN (7, 8);"
        """UPDATE atoms SET meta = '{"a": "\\u0000"}' WHERE id = 9;"""
        "CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER topics_frozen BEFORE UPDATE ON topics FOR EACH ROW WHEN (OLD.id = 3) EXECUTE FUNCTION frozen()",
    )
    told: list[str] = []
    done = run_drill(database, options(server), rollbacks={"backfill": ROLLBACKS["backfill"]}, progress=told.append)
    assert done.passed
    found = {(one.entity, one.sqlstate): (one.rows, one.ids) for one in done.set_aside}
    assert found == {
        ("atom", "23514"): (2, "7, 8"),
        ("atom", "22P05"): (1, "9"),
        ("topic", "KM001"): (1, "3"),
    }
    assert sum("go to quarantine" in line for line in told) == len(found)
    assert len(done.to_evidence()["set_aside"]) == len(found)


def rehearsed_with(
    database: Database,
    server: EmbeddedServer,
    folder: Path,
    statements: str,
    settings: Settings = Settings(),  # noqa: B008
) -> tuple[Drill, list[str]]:
    """A drill of a database with these triggers of a user, and what it reported."""
    filled_and_backed_up(database, server, folder, statements)
    told: list[str] = []
    rollbacks = {"backfill": ROLLBACKS["backfill"]}
    chosen = replace(options(server), settings=settings)
    return run_drill(database, chosen, rollbacks=rollbacks, progress=told.append), told


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE TABLE atoms_deleted AS SELECT * FROM atoms WITH NO DATA;"
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO atoms_deleted SELECT OLD.*; RETURN OLD; END $$;"
        "CREATE TRIGGER atoms_keep BEFORE DELETE ON atoms FOR EACH ROW EXECUTE FUNCTION keep()",
        "CREATE TABLE atoms_history AS SELECT * FROM atoms WITH NO DATA;"
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO atoms_history SELECT NEW.*; RETURN NEW; END $$;"
        "CREATE TRIGGER atoms_keep AFTER INSERT ON atoms FOR EACH ROW EXECUTE FUNCTION keep()",
    ],
    ids=["delete", "insert"],
)
def test_statements_of_users_that_the_new_columns_break_end_the_rehearsal(
    database: Database, server: EmbeddedServer, tmp_path: Path, statements: str
) -> None:
    with pytest.raises(
        VerificationError, match=r"of a row of atoms \(1\): 42601 INSERT has more expressions .*keep\(\)"
    ):
        rehearsed_with(database, server, tmp_path, statements)


def test_rows_that_triggers_write_elsewhere_during_the_backfill_are_reported(
    database: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    done, told = rehearsed_with(
        database,
        server,
        tmp_path,
        "CREATE TABLE audit_rows (id bigserial PRIMARY KEY, row_id bigint);"
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit_rows (row_id) VALUES (NEW.id); RETURN NULL; END $$;"
        "CREATE TRIGGER atoms_audit AFTER UPDATE ON atoms FOR EACH ROW EXECUTE FUNCTION audit();"
        "CREATE TRIGGER topics_name AFTER UPDATE OF name ON topics FOR EACH ROW EXECUTE FUNCTION audit()",
        Settings(backfill=BackfillSettings(triggers="accept")),
    )
    (found,) = done.side_effects
    assert vars(found) == {
        "table": "public.audit_rows",
        "rows": 400,
        "triggers": "atoms_audit, function audit on atoms",
    }
    assert found.sentence in told


@pytest.mark.long
def test_a_database_that_is_migrated_already_can_be_drilled(
    backed_up: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    schema.upgrade(backed_up, SchemaChangeSettings())
    backfill(backed_up)
    stand_at(backed_up, "gradual_rollout")
    back_up(backed_up, server, tmp_path / "later")
    done = run_drill(backed_up, options(server))
    assert done.passed, [path.as_row() for path in done.paths]


def test_a_rollback_that_changes_a_row_is_named_with_its_table(
    backed_up: Database, rows: Connection, server: EmbeddedServer
) -> None:
    def damages(drill: CloneDrill) -> Outcome:
        with drill.clone.connect("a rollback") as connection:
            connection.execute("UPDATE atoms SET content = content || '!' WHERE id = 7")
        return Outcome(1)

    done = run_drill(backed_up, options(server), rollbacks={"a bad one": DrilledRollback(damages, 60.0)})
    assert not done.passed
    (path,) = done.paths
    assert "atoms" in path.differences[0]
    record(backed_up, done)
    outcome = drill_outcome(rows, 7)
    assert (outcome.passed, [row["path"] for row in outcome.sample]) == (False, ["a bad one"])


def test_a_rollback_that_is_too_slow_fails(backed_up: Database, server: EmbeddedServer) -> None:
    slow = DrilledRollback(lambda _: Outcome(seconds=time.perf_counter()), 0.0)
    done = run_drill(backed_up, options(server), rollbacks={"a slow one": slow})
    assert (done.passed, done.paths[0].differences) == (False, ())


def test_an_old_drill_and_none_are_refused_with_what_to_run(backed_up: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="knowledge-migration drill"):
        drill_outcome(rows, 7)
    evidence.record(rows, "rollback_drill", {"paths": [], "passed": False})
    assert not drill_outcome(rows, 7).passed
    rows.execute(
        "UPDATE migration.evidence SET recorded_at = recorded_at - interval '8 days' WHERE kind = 'rollback_drill'"
    )
    with pytest.raises(PreconditionError, match="limit 168 h"):
        drill_outcome(rows, 7)


def test_without_a_backup_nothing_is_drilled(database: Database, server: EmbeddedServer) -> None:
    schema.upgrade(database, SchemaChangeSettings(), to=EVIDENCE_REVISION)
    with pytest.raises(PreconditionError, match="verified backup"):
        run_drill(database, options(server))


def test_a_drill_that_breaks_off_leaves_no_clone(backed_up: Database, rows: Connection, server: EmbeddedServer) -> None:
    def breaks(_: CloneDrill) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_drill(backed_up, options(server), rollbacks={"a stopped one": DrilledRollback(breaks, 60.0)})
    assert count(rows, CLONES) == 0


def test_a_rehearsal_that_went_wrong_is_no_rehearsal_and_without_a_backup_there_is_none(
    backed_up: Database, rows: Connection
) -> None:
    plan = Plan({"a": "1"})
    content = {"plan": dict(plan.parts), "passed": False, "paths": [{"path": "schema", "passed": False}]}
    with pytest.raises(PreconditionError, match="Nothing was rehearsed"):
        require_rehearsed(backed_up, plan, "phase 1", skip_rehearsal_reason=None)
    evidence.record(rows, "staging_rehearsal", content)
    with pytest.raises(PreconditionError, match="failed: schema"):
        require_rehearsed(backed_up, plan, "phase 1", skip_rehearsal_reason=None)


def test_the_hash_follows_every_part_and_no_order() -> None:
    one, again = present_plan({"a": 1, "b": 2}), present_plan({"b": 2, "a": 1})
    assert one.hash == again.hash
    assert {"sql/backfill.sql", "engine/backfill/batch.py", "knowledge/flags.py", "version"} <= one.parts.keys()
    changed = Plan({**one.parts, "sql/backfill.sql": "another"})
    assert changed.hash != one.hash
    assert changed.differing(one.parts) == ["sql/backfill.sql"]
    assert list(ROLLBACKS) == PATHS


def test_without_a_backup_a_reason_does_not_help(database: Database) -> None:
    schema.upgrade(database, SchemaChangeSettings(), to=EVIDENCE_REVISION)
    with pytest.raises(PreconditionError, match="verified_backup first"):
        require_rehearsed(database, Plan({"a": "1"}), "phase 1", skip_rehearsal_reason="in a hurry")
