"""Where a trigger of the user's would change a row that is linked, the backfill refuses instead of breaking its promise."""

import re

import pytest

from knowledge_migration.engine.backfill import completion
from knowledge_migration.engine.backfill.dry_run import dry_run
from knowledge_migration.engine.backfill.plan import Partition, make_plan
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.backfill.triggers import apply_choice
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    legacy_values,
)
from knowledge_migration_tests.support.roles import role

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
    with pytest.raises(
        PreconditionError, match=r"change its updated_at, title through a trigger \(set_updated_at, function stamp\)"
    ):
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


def test_the_refusal_prints_the_statement_that_lets_the_backfill_go_on(expanded: Database, session: Connection) -> None:
    session.execute(STAMPING.format(columns="", condition="WHEN (OLD.user_approved)"))
    session.execute("UPDATE atoms SET user_approved = true; DROP TRIGGER IF EXISTS other ON atoms")
    with pytest.raises(PreconditionError) as refused:
        backfill_partition(expanded, ATOMS, QUICK)
    (statement,) = re.findall(r"CREATE OR REPLACE TRIGGER [^;]*;", str(refused.value))
    session.execute(statement.encode())
    before = legacy_values(session)
    backfill(expanded)
    assert legacy_values(session) == before
    assert broken_rules(session) == {}


def test_a_row_that_a_trigger_changes_under_a_condition_is_set_aside_with_the_trigger(
    expanded: Database, session: Connection
) -> None:
    session.execute(STAMPING.format(columns="", condition="WHEN (OLD.id IN (7, 350))"))
    before = legacy_values(session)
    result = backfill_partition(expanded, ATOMS, QUICK)
    assert (result.linked_rows, result.quarantined_rows) == (398, 2)
    assert legacy_values(session) == before
    held = session.execute("SELECT row_id, sqlstate, reason FROM migration.quarantine ORDER BY 1").fetchall()
    assert [(row["row_id"], row["sqlstate"]) for row in held] == [(7, "KM002"), (350, "KM002")]
    assert "changed other columns of it, by triggers (set_updated_at, function stamp)" in held[0]["reason"]


REMEMBERING = """
CREATE TABLE history (id bigint);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO history VALUES (NEW.id); RETURN NEW; END $$;
CREATE {kind} remember AFTER UPDATE ON atoms {when} FOR EACH ROW {condition} EXECUTE FUNCTION remember()
"""


@pytest.mark.parametrize(
    ("kind", "when"),
    [("TRIGGER", ""), ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED")],
    ids=["now", "deferred"],
)
def test_a_trigger_that_writes_elsewhere_is_refused_unless_the_operator_chose_otherwise(
    expanded: Database, session: Connection, kind: str, when: str
) -> None:
    session.execute(REMEMBERING.format(kind=kind, when=when, condition=""))
    with pytest.raises(PreconditionError, match=r"write to public.history .*\(remember, function remember\)"):
        backfill_partition(expanded, ATOMS, QUICK)
    assert (
        backfill_partition(expanded, Partition("atom", "1", 0, 100), QUICK.replaced(triggers="replica")).linked_rows
        == 100
    )
    assert count(session, "SELECT count(*) FROM history") == 0
    result = backfill_partition(expanded, ATOMS, QUICK.replaced(triggers="accept"))
    assert result.written_elsewhere == {"public.history": 300}
    assert count(session, "SELECT count(*) FROM history") == 300
    completion.complete(expanded, QUICK.replaced(triggers="accept"))
    assert broken_rules(session) == {}


def test_a_row_whose_trigger_writes_elsewhere_under_a_condition_is_set_aside(
    expanded: Database, session: Connection
) -> None:
    session.execute(REMEMBERING.format(kind="TRIGGER", when="", condition="WHEN (OLD.id = 7)"))
    result = backfill_partition(expanded, ATOMS, QUICK)
    assert (result.linked_rows, result.quarantined_rows) == (399, 1)
    assert count(session, "SELECT count(*) FROM history") == 0
    held = session.execute("SELECT row_id, reason FROM migration.quarantine").fetchall()
    assert [row["row_id"] for row in held] == [7]
    assert "also writes 1 rows of public.history, through triggers (remember, function remember)" in held[0]["reason"]


@pytest.mark.parametrize(
    "body",
    [
        "UPDATE atoms SET updated_at = clock_timestamp() WHERE id = NEW.id",
        "UPDATE topics SET updated_at = clock_timestamp() WHERE id = NEW.id",
    ],
    ids=["the row again", "its topic"],
)
def test_a_trigger_that_changes_legacy_rows_afterwards_is_never_accepted(
    expanded: Database, session: Connection, body: str
) -> None:
    session.execute(
        f"CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$;"
        "CREATE TRIGGER again AFTER UPDATE ON atoms FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again()".encode()
    )
    before = legacy_values(session)
    for choice in ("refuse", "accept"):
        with pytest.raises(PreconditionError, match=r"would also write to public.\w+ through a trigger \(again"):
            backfill_partition(expanded, ATOMS, QUICK.replaced(triggers=choice))
    assert legacy_values(session) == before


def test_a_role_that_may_not_disable_triggers_is_told_the_grant(expanded: Database, session: Connection) -> None:
    with (
        role(session, "of_side_effects") as limited,
        limited.connect("test") as connection,
        pytest.raises(PreconditionError, match="GRANT SET ON PARAMETER session_replication_role"),
    ):
        apply_choice(connection, "replica")


def test_looking_leaves_no_trace_and_waits_for_nobody(expanded: Database, session: Connection) -> None:
    session.execute("UPDATE atoms SET migration_timestamp = NULL")
    with expanded.connect("user") as user, user.transaction():
        user.execute("SELECT FROM atoms WHERE id < 400 FOR UPDATE")
        forecast = dry_run(expanded, make_plan(session, partition_rows=1_000, max_partitions=9), QUICK)[1]
    assert forecast.sampled_rows == 1
    assert count(session, "SELECT count(migration_timestamp) FROM atoms") == 0
