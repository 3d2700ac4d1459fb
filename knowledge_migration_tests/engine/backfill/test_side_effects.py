"""Where a trigger of the user's would change a row that is linked, the backfill refuses instead of breaking its promise."""

import pytest

from knowledge_migration.engine.backfill import completion
from knowledge_migration.engine.backfill.dry_run import dry_run
from knowledge_migration.engine.backfill.plan import Partition, make_plan
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    legacy_values,
)

ATOMS = Partition("atom", "000000000001", 0, 500)

STAMPING = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.updated_at = clock_timestamp(); NEW.title = NEW.title || '!'; RETURN NEW; END $$;
CREATE TRIGGER set_updated_at BEFORE UPDATE {columns} ON atoms FOR EACH ROW {condition} EXECUTE FUNCTION stamp()
"""


@pytest.mark.parametrize("condition", ["", "WHEN (OLD::text <> NEW::text)"], ids=["always", "when something changes"])
def test_a_trigger_that_stamps_rows_is_named_with_what_it_would_change(
    expanded: Database, session: Connection, condition: str
) -> None:
    session.execute(STAMPING.format(columns="", condition=condition))
    before = legacy_values(session)
    with pytest.raises(PreconditionError, match=r"change its updated_at, title through a trigger \(set_updated_at\)"):
        backfill_partition(expanded, ATOMS, QUICK)
    with pytest.raises(PreconditionError, match="Nothing was changed"):
        dry_run(expanded, make_plan(session, partition_rows=100, max_partitions=9), QUICK)
    assert legacy_values(session) == before
    assert count(session, "SELECT count(*) FROM atom_proposals") == 0


def test_after_the_trigger_is_disabled_the_backfill_goes_on(expanded: Database, session: Connection) -> None:
    session.execute(STAMPING.format(columns="", condition=""))
    with pytest.raises(PreconditionError):
        completion.complete(expanded, QUICK)
    session.execute("ALTER TABLE atoms DISABLE TRIGGER set_updated_at")
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}


def test_a_trigger_on_other_columns_is_none_of_its_business(expanded: Database, session: Connection) -> None:
    session.execute(STAMPING.format(columns="OF title, content", condition=""))
    before = legacy_values(session)
    backfill(expanded)
    assert legacy_values(session) == before
    assert broken_rules(session) == {}


def test_triggers_that_change_nothing_are_let_be(expanded: Database, session: Connection) -> None:
    session.execute(
        "CREATE TABLE history (id bigint); CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO history VALUES (NEW.id); RETURN NEW; END $$;"
        "CREATE TRIGGER remember AFTER UPDATE ON atoms FOR EACH ROW EXECUTE FUNCTION remember()"
    )
    backfill(expanded)
    assert broken_rules(session) == {}
    assert count(session, "SELECT count(*) FROM history") == 400


def test_looking_leaves_no_trace_and_waits_for_nobody(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET migration_timestamp = NULL")
    with expanded.connect("user") as user, user.transaction():
        user.execute("SELECT FROM atoms WHERE id < 400 FOR UPDATE")
        forecast = dry_run(expanded, make_plan(session, partition_rows=1_000, max_partitions=9), QUICK)[1]
    assert forecast.sampled_rows == 1
    assert count(session, "SELECT count(migration_timestamp) FROM atoms") == 0
