"""The report of phase 0 lists the inventory."""

from knowledge_migration.engine.foundation import inventory
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.preparation.legacy_snapshot import inventory_frame
from knowledge_migration_tests.engine.backup.legacy_rows import fill


def test_the_report_has_one_row_per_table(connection: Connection) -> None:
    fill(connection)
    frame = inventory_frame(inventory.read(connection)).set_index("table")
    assert frame.loc["topics", "rows"] == 3
    assert frame.loc["messages", "references"].startswith("author_id → users")


def test_the_report_states_ids_exactly(connection: Connection) -> None:
    fill(connection)
    connection.execute(
        "INSERT INTO topics (id, name, description) SELECT id, 'extreme ' || id, '' FROM unnest(%s) AS id",
        ([-(2**63), 2**63 - 1],),
    )
    frame = inventory_frame(inventory.read(connection)).set_index("table")
    assert list(frame.loc["topics", ["lowest_id", "highest_id"]]) == [-(2**63), 2**63 - 1]
