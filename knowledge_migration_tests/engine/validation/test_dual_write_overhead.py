"""The measurement of dual write: it leaves nothing, it cannot be fooled by a shadow that fails, it measures longer if slow."""

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.validation import dual_write_overhead
from knowledge_migration.engine.validation.dual_write_overhead import Overhead
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration_tests.engine.backfill.backfilling import count, legacy_values


def test_both_modes_are_measured_and_nothing_stays(peopled: Database, rows: Connection) -> None:
    before = legacy_values(rows)
    measured = dual_write_overhead.measure(
        peopled, LocalExtractor(), ServiceOptions(database_url=peopled.url), pairs=12
    )
    assert (len(measured.direct), len(measured.dual_write)) == (12, 12)
    assert legacy_values(rows) == before
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs") == 0
    assert count(rows, "SELECT count(*) FROM messages WHERE topic_id IS NOT NULL") == 0


def test_it_measures_where_there_are_no_messages(expanded: Database) -> None:
    assert dual_write_overhead.measure(
        expanded, LocalExtractor(), ServiceOptions(database_url=expanded.url), pairs=2
    ).direct


def test_a_shadow_that_fails_is_no_fast_one(peopled: Database, rows: Connection) -> None:
    rows.execute("ALTER TABLE topic_proposals RENAME TO elsewhere")
    with pytest.raises(VerificationError, match="could not be written"):
        dual_write_overhead.measure(peopled, LocalExtractor(), ServiceOptions(database_url=peopled.url), pairs=2)


def test_the_limit_is_on_the_medians() -> None:
    slow, fast = Overhead((1.0, 1.0, 9.0), (1.2, 1.2, 1.2)), Overhead((1.0, 1.0), (1.05, 1.05))
    assert dual_write_overhead.overhead_outcome(slow, 10).sample == ({"slowdown_percent": 20.0},)
    assert dual_write_overhead.overhead_outcome(fast, 10).passed


def test_what_is_beyond_the_limit_is_measured_longer(peopled: Database) -> None:
    parts = (LocalExtractor(), ServiceOptions(database_url=peopled.url))
    never = dual_write_overhead.measure_within(peopled, *parts, pairs=2, limit_percent=-1000.0)
    always = dual_write_overhead.measure_within(peopled, *parts, pairs=2, limit_percent=1e9)
    assert (len(never.direct), len(always.direct)) == (2 * dual_write_overhead.ROUNDS, 2)
