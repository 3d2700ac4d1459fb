"""The clones that the settings choose: a sample, the operator's copy, and what each costs."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from knowledge_migration.engine.cutover.readiness import drill_outcome
from knowledge_migration.engine.foundation import fingerprint
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError, VerificationError
from knowledge_migration.engine.rehearsal import clone as clones
from knowledge_migration.engine.rehearsal.clone import cost_of_clone
from knowledge_migration.engine.rehearsal.drill import ROLLBACKS, DrillOptions, run_drill
from knowledge_migration.engine.rehearsal.plan import present_plan
from knowledge_migration.engine.rehearsal.rehearsal import rehearse
from knowledge_migration.engine.rehearsal.sample import restored_sample
from knowledge_migration.settings import RehearsalSettings, Settings, SettingsError, load_settings
from knowledge_migration_tests.conftest import clone, cloned, drop
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.rehearsal.conftest import filled_and_backed_up, options

ROWS = 1_000
MORE = """
INSERT INTO atoms (id, type, title, content, user_approved)
SELECT 10000 + n, 'insight', 'found out ' || n, 'what was found out', false FROM generate_series(1, 4000) AS n;
INSERT INTO topic_atoms (topic_id, atom_id) SELECT (SELECT min(id) FROM topics), 10000 + n FROM generate_series(1, 4000) AS n;
INSERT INTO atom_links (from_atom_id, to_atom_id, link_type)
SELECT 10000 + n, 10000 + n % 4000 + 1, 'supports' FROM generate_series(1, 4000) AS n;
CREATE TABLE "Remarks" (id serial PRIMARY KEY, atom_id bigint REFERENCES atoms, parent_id int REFERENCES "Remarks",
                        length int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO "Remarks" (id, atom_id, parent_id) SELECT n, 10000 + n, nullif(n - 1, 0) FROM generate_series(1, 500) AS n;
CREATE TABLE unrelated (id int);
INSERT INTO unrelated VALUES (1);
"""


@pytest.fixture(scope="module")
def template(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A legacy database with 4,000 atoms more, and a verified backup."""
    database = clone(server)
    filled_and_backed_up(database, server, tmp_path_factory.mktemp("backup"), MORE)
    yield database
    drop(server, database)


@pytest.fixture
def backed_up(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    with cloned(server, template.name) as copy:
        yield copy


def choosing(server: EmbeddedServer, **rehearsal: object) -> DrillOptions:
    return replace(options(server), settings=Settings(rehearsal=RehearsalSettings.model_validate(rehearsal)))


def scratch_databases(server: EmbeddedServer) -> int:
    with server.admin.connect("test") as admin:
        return count(admin, "SELECT count(*) FROM pg_database WHERE datname LIKE 'knowledge_migration_%'")


@pytest.mark.long
def test_every_rollback_passes_on_a_sample_and_the_forecast_is_scaled(
    server: EmbeddedServer, backed_up: Database
) -> None:
    told: list[str] = []
    chosen = choosing(server, rows=ROWS)
    done = rehearse(backed_up, chosen, present_plan({}), batch_size=100, rate_limit_per_second=0, progress=told.append)
    assert done.drill.passed
    assert 0.2 < done.drill.share < 0.45
    assert told[0].startswith("the clone (a sample of 1,000 rows of each larger table) needs about 0.0")
    (backfilled,) = [one for one in done.forecasts if one.phase == "backfill"]
    (timed,) = [one for one in done.drill.phases if one.phase == "backfill"]
    assert backfilled.rows == round(timed.rows / done.drill.share) > 4 * ROWS
    assert backfilled.seconds_in_production == pytest.approx(timed.seconds / done.drill.share)
    with backed_up.connect("test") as connection:
        assert f"with {100 * done.drill.share:.3g} % of production's" in drill_outcome(connection, 7).description
    assert scratch_databases(server) == 0


def test_rows_of_a_sample_belong_together_and_small_tables_are_whole(
    server: EmbeddedServer, template: Database
) -> None:
    shares = {"atoms": 0.25, "topic_atoms": 0.25}
    with (
        restored_sample(template, shares, scratch=server.admin, tools_dir=None, progress=lambda _: None) as sample,
        sample.connect("test") as rows,
        template.connect("test") as live,
    ):
        atoms = count(rows, "SELECT count(*) FROM atoms WHERE id > 10000")
        assert 800 < atoms < 1_200
        assert count(rows, "SELECT count(*) FROM topic_atoms WHERE atom_id > 10000") == atoms
        assert 0 < count(rows, "SELECT count(*) FROM atom_links WHERE from_atom_id > 10000") < atoms
        assert count(rows, "SELECT count(*) FROM topics") == count(live, "SELECT count(*) FROM topics")
        remarks = count(rows, 'SELECT count(*) FROM "Remarks"')
        assert (
            remarks == count(rows, 'SELECT coalesce(max(id), 0) FROM "Remarks"') < 500
        )  # the first gap ends the chain
        assert count(rows, "SELECT count(*) FROM unrelated") == 0
        assert count(rows, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == count(
            live, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
        )
        assert count(rows, "SELECT nextval('atoms_id_seq')") == count(live, "SELECT last_value + 1 FROM atoms_id_seq")


def test_numbers_that_were_given_since_the_backup_are_not_given_again_on_a_sample(
    server: EmbeddedServer, backed_up: Database
) -> None:
    with backed_up.connect("test") as connection:
        connection.execute("SELECT nextval('atoms_id_seq') FROM generate_series(1, 500)")
        last = count(connection, "SELECT last_value FROM atoms_id_seq")
    with (
        restored_sample(backed_up, {}, scratch=server.admin, tools_dir=None, progress=lambda _: None) as sample,
        sample.connect("test") as rows,
    ):
        assert count(rows, "SELECT nextval('atoms_id_seq')") == last + 1


def test_a_sample_of_tables_that_changed_since_the_backup_is_refused(
    server: EmbeddedServer, backed_up: Database
) -> None:
    with backed_up.connect("test") as connection:
        connection.execute("ALTER TABLE atoms ADD COLUMN later text")
    with pytest.raises(VerificationError, match=r"atoms has changed since the backup: .*later.* Take a new backup"):
        run_drill(backed_up, choosing(server, rows=ROWS))
    assert scratch_databases(server) == 0


def test_a_copy_of_the_operator_is_changed_and_production_is_only_read(
    server: EmbeddedServer, backed_up: Database
) -> None:
    with cloned(server, backed_up.name) as copy, backed_up.connect("test") as rows:
        before = fingerprint.take(rows)
        with copy.connect("test") as connection:
            connection.execute("DELETE FROM atom_links")  # it need not be of the same moment
        chosen = {"backfill": ROLLBACKS["backfill"]}
        done = run_drill(backed_up, choosing(server, clone_url=copy.url), rollbacks=chosen)
        assert done.passed
        assert done.share == 1
        assert fingerprint.differences(before, fingerprint.take(rows, like=before)) == []
        with copy.connect("test") as connection:
            assert count(connection, "SELECT count(*) FROM atoms WHERE id > 10000") == 4_000
    assert scratch_databases(server) == 0


def test_what_is_no_copy_is_refused(server: EmbeddedServer, backed_up: Database) -> None:
    with pytest.raises(PreconditionError, match="names the database to migrate"):
        run_drill(backed_up, choosing(server, clone_url=backed_up.url))
    with cloned(server, backed_up.name) as copy:
        with copy.connect("of a user") as user:
            with pytest.raises(BlockedError, match=f"of a user \\(pid {user.info.backend_pid},"):
                run_drill(backed_up, choosing(server, clone_url=copy.url))
            user.execute("ALTER TABLE atoms DROP COLUMN confidence")
        with pytest.raises(PreconditionError, match=r"these columns differ: atoms\.confidence double precision\."):
            run_drill(backed_up, choosing(server, clone_url=copy.url))


def test_the_cost_is_known_beforehand_and_too_small_a_disk_is_refused(
    server: EmbeddedServer, backed_up: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sample = (
        cost_of_clone(backed_up, server.admin, choosing(server, **chosen).settings) for chosen in ({}, {"rows": ROWS})
    )
    assert whole.seconds
    assert sample.seconds
    assert sample.bytes < whole.bytes
    assert sample.seconds < whole.seconds
    assert whole.free_bytes
    assert whole.bytes < whole.free_bytes
    with monkeypatch.context() as patched:
        patched.setattr(clones, "server_disk", lambda *_: type("Disk", (), {"free": 1}))
        with pytest.raises(
            PreconditionError, match=r"The disk is too small: the clone .* needs about .*0.00 GB are free"
        ):
            run_drill(backed_up, choosing(server))
    assert scratch_databases(server) == 0


def test_a_sample_of_the_copy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_REHEARSAL_ROWS", "5000")
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_REHEARSAL_CLONE_URL", "postgresql://u:p@host/copy")
    with pytest.raises(SettingsError, match=r"KNOWLEDGE_MIGRATION_REHEARSAL_CLONE_URL and .*exclude each other"):
        load_settings()
