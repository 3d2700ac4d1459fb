"""What must hold after phase 5 is asked of the database as it is, and each way in which it does not is found."""

import pytest

from knowledge_migration.engine.cleanup import outcomes
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change, in_days, reopen, retire


def stable(database: Database, rows: Connection, days: float = 21) -> bool:
    return outcomes.stability_outcome(database, rows, now=in_days(days)).passed


def test_before_the_retirement_there_is_nothing_to_ask(full: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="legacy_path_retirement"):
        stable(full, rows)
    with pytest.raises(PreconditionError, match="legacy_path_retirement"):
        outcomes.completeness_outcome(rows)
    assert not outcomes.retired_outcome(full, rows, live_seconds=10).passed


def test_after_it_everything_holds(full: Database, rows: Connection) -> None:
    retire(full)
    assert stable(full, rows)
    assert outcomes.retired_outcome(full, rows, live_seconds=10).passed
    assert outcomes.completeness_outcome(rows).passed


def test_stability_is_judged_by_what_the_retirement_required(full: Database, rows: Connection) -> None:
    retire(full, required_days=5, now=in_days(6))
    assert (stable(full, rows, 4), stable(full, rows, 6)) == (False, True)


def test_a_rollback_since_breaks_it(full: Database, rows: Connection) -> None:
    retire(full)
    audit.record(rows, "rollback backfill", "phase 3", reason="wrong")
    assert not stable(full, rows, 13)


def test_an_override_counts_for_the_full_cutover_that_it_was_given_for(full: Database, rows: Connection) -> None:
    retire(full, now=in_days(1), override="agreed")
    retire(full, now=in_days(1))
    assert stable(full, rows, 1)
    reopen(full)
    change(full, {"enabled": False})
    change(full, FULL)
    assert not stable(full, rows, 1)


def test_open_paths_and_a_process_that_has_not_seen_the_lock_are_found(full: Database, rows: Connection) -> None:
    retire(full)
    rows.execute(
        "INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at) "
        "VALUES ('old', 'full', 1, now(), clock_timestamp())"
    )
    found = outcomes.retired_outcome(full, rows, live_seconds=10)
    assert found.sample == ({"process": "old", "problem": "acknowledged version 1 of 2"},)
    reopen(full)
    assert outcomes.retired_outcome(full, rows, live_seconds=10).count == 2


def test_a_rule_that_is_gone_or_not_proven_is_found_unless_it_was_left_out(full: Database, rows: Connection) -> None:
    retire(full, without=["topics"])
    rows.execute("ALTER TABLE atoms DROP CONSTRAINT atoms_come_from_proposals")
    found = outcomes.completeness_outcome(rows)
    assert [(row["table"], row["state"]) for row in found.sample] == [("atoms", "missing")]
    rows.execute(
        "ALTER TABLE atoms ADD CONSTRAINT atoms_come_from_proposals "
        "CHECK (migrated_from_proposal_id IS NOT NULL) NOT VALID"
    )
    assert [row["state"] for row in outcomes.completeness_outcome(rows).sample] == ["not validated"]
