"""Each kind of difference in each shape of key is found, told apart and counted, and nothing else is."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.rollback.repair.backup_copy import RestoredBackup, both_sides, restored_backup
from knowledge_migration.engine.rollback.repair.comparison import Comparison, compare
from knowledge_migration_tests.conftest import cloned


@pytest.fixture(scope="module")
def restored(server: EmbeddedServer, backed_up_template: Database) -> Iterator[RestoredBackup]:
    """The restored backup: each comparison only reads it."""
    with restored_backup(backed_up_template, scratch=server.admin, progress=lambda _: None) as backup:
        yield backup


@pytest.fixture
def live(server: EmbeddedServer, backed_up_template: Database) -> Iterator[Database]:
    """A copy of the database whose backup it is."""
    with cloned(server, backed_up_template.name) as copy:
        yield copy


def compared(database: Database, restored: RestoredBackup) -> Comparison:
    with both_sides(database, restored) as sides:
        return compare(sides)


def found(comparison: Comparison) -> set[tuple[str, str, tuple[str, ...]]]:
    """Every difference; the counts must say the same as the samples."""
    for table in comparison.tables:
        for kind, count in table.counts.items():
            assert count == sum(one.copies for one in table.samples if one.kind == kind)
    return {(one.table, one.kind, one.key) for table in comparison.tables for one in table.samples}


def test_a_database_that_nobody_wrote_to_equals_its_backup(live: Database, restored: RestoredBackup) -> None:
    comparison = compared(live, restored)
    assert found(comparison) == set()
    assert comparison.is_equal
    assert comparison.rows == 25
    assert comparison.sentence == "All 25 rows of 12 tables equal the backup."


CHANGES = [
    ("INSERT INTO topics (name, description) VALUES ('new', '')", ("topics", "added", ("30001",))),
    ("UPDATE topics SET icon = 'X', updated_at = now() WHERE id = 1", ("topics", "written_since", ("1",))),
    ("UPDATE topics SET icon = 'X' WHERE id = 1", ("topics", "altered", ("1",))),
    ("UPDATE topics SET icon = '' WHERE id = 2", ("topics", "altered", ("2",))),
    ("UPDATE topics SET icon = NULL WHERE id = 15000", ("topics", "altered", ("15000",))),
    ("DELETE FROM topics WHERE id = 15000", ("topics", "missing", ("15000",))),
    ("UPDATE atoms SET confidence = NULL WHERE id = 1", ("atoms", "altered", ("1",))),
    ("UPDATE atoms SET meta = '{\"a\":1}' WHERE id = 1", ("atoms", "altered", ("1",))),
    ("UPDATE atoms SET meta = NULL WHERE id = 2", ("atoms", "altered", ("2",))),
    ("UPDATE atoms SET embedding = NULL WHERE id = 3", ("atoms", "altered", ("3",))),
    (
        "UPDATE atoms SET embedding = array_fill(0.25::real, ARRAY[1535])::real[] || 0.2500001::real WHERE id = 3",
        ("atoms", "altered", ("3",)),
    ),
    ("UPDATE messages SET noise_factors = 'null' WHERE id = 1", ("messages", "altered", ("1",))),
    ("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (2, 1)", ("topic_atoms", "added", ("2", "1"))),
    ("UPDATE topic_atoms SET note = NULL WHERE atom_id = 1", ("topic_atoms", "altered", ("1", "1"))),
    (
        "UPDATE topic_atoms SET position = 0, updated_at = now() WHERE atom_id = 2",
        ("topic_atoms", "written_since", ("1", "2")),
    ),
    ("DELETE FROM topic_atoms WHERE atom_id = 2", ("topic_atoms", "missing", ("1", "2"))),
    ("UPDATE atom_links SET strength = -strength", ("atom_links", "altered", ("2", "1"))),
    ("DELETE FROM atom_links", ("atom_links", "missing", ("2", "1"))),
    ("INSERT INTO labels VALUES ('Ä')", ("labels", "added", ("Ä",))),
    ("UPDATE labels SET words = '' WHERE code = 'b'", ("labels", "undated", ("b",))),
    ("DELETE FROM labels WHERE code = 'B'", ("labels", "missing", ("B",))),
    (
        "UPDATE places SET number = 3 WHERE number = 1",
        ("places", "altered", ("00000000-0000-0000-0000-000000000001",)),
    ),
    (
        "UPDATE places SET number = 3, updated_at = '2026-01-01 00:00:00.000001' WHERE number = 1",
        ("places", "written_since", ("00000000-0000-0000-0000-000000000001",)),
    ),
    ("UPDATE counters SET topic_id = NULL WHERE id = 2", ("counters", "altered", ("2",))),
]


@pytest.mark.parametrize(
    ("change", "difference"), CHANGES, ids=[f"{d[0]} {d[1]} {n}" for n, (_, d) in enumerate(CHANGES)]
)
def test_a_difference_is_found_and_told_apart(
    live: Database,
    rows: Connection,
    restored: RestoredBackup,
    change: str,
    difference: tuple[str, str, tuple[str, ...]],
) -> None:
    rows.execute(change)
    comparison = compared(live, restored)
    assert found(comparison) == {difference}
    assert comparison.is_equal == (difference[1] in ("added", "written_since", "undated"))
