"""The backfill gives every row exactly one proposal with its values, and changes nothing else."""

from uuid import UUID, uuid3

from knowledge_migration.engine.backfill import completion, run, runner
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.rollback import backfill as backfill_rollback
from knowledge_migration_tests.engine.backfill.backfilling import (
    QUICK,
    backfill,
    broken_rules,
    count,
    fill,
    legacy_values,
    partitions,
)

PAIRS = {
    "topics": "SELECT row.name, row.description, row.icon, row.color, NULL::float8 AS confidence FROM topics AS row",
    "atoms": "SELECT row.type, row.title, row.content, row.confidence, row.meta::jsonb::text AS meta FROM atoms AS row",
}


def test_the_copies_equal_the_rows_column_by_column(any_expanded: Database) -> None:
    fill(any_expanded)
    backfill(any_expanded)
    with any_expanded.connect("test") as connection:
        for table, rows in PAIRS.items():
            one = table.removesuffix("s")
            copies = rows.replace(f"FROM {table} AS row", f"FROM {one}_proposals AS row JOIN {table} AS source ON ") + (
                "source.migrated_from_proposal_id = row.id ORDER BY source.id"
            )
            found = connection.execute(copies.replace("NULL::float8", "row.confidence")).fetchall()
            assert found == connection.execute(f"{rows} ORDER BY id").fetchall()
            assert count(connection, f"SELECT count(*) FROM {one}_proposals") == len(found)  # noqa: S608


def test_every_row_gets_one_proposal_with_its_values_null_for_null(any_expanded: Database) -> None:
    fill(any_expanded)
    with any_expanded.connect("test") as connection:
        before = legacy_values(connection)
        backfill(any_expanded)
        assert broken_rules(connection) == {}
        assert legacy_values(connection) == before
        pairs = connection.execute(
            "SELECT a.confidence AS row, p.confidence AS proposal, a.meta::text AS meta, p.meta::text AS copied, p.status, "
            "p.proposed_topic_ids AS topics, p.reviewed_at >= p.created_at AS in_order, a.id "
            "FROM atoms a JOIN atom_proposals p ON p.id = a.migrated_from_proposal_id ORDER BY a.id"
        ).fetchall()
        assert len(pairs) == 400
        assert all(pair["row"] == pair["proposal"] for pair in pairs)
        assert {pair["row"] for pair in pairs} == {None, 0.0, 0.73, 1.0}
        assert {pair["copied"] for pair in pairs} == {None, "null", '{"a": [2], "b": 1}'}
        assert all(pair["status"] == "approved" and pair["in_order"] for pair in pairs)
        related = connection.execute(
            "SELECT array_agg(topic_id ORDER BY topic_id) AS ids FROM topic_atoms WHERE atom_id = 7"
        )
        assert pairs[6]["topics"] == related.fetchone()["ids"]  # type: ignore[index]
        assert pairs[-1]["topics"] == []


def test_the_id_of_a_proposal_follows_from_its_row(expanded: Database, connection: Connection) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as session:
        row = session.execute("SELECT migrated_from_proposal_id AS id FROM atoms WHERE id = 123").fetchone()
    assert row == {"id": uuid3(UUID(bytes=b"knowledge/origin"), "atoms/123")}


def test_a_second_backfill_links_nothing_and_uses_the_same_run(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        before = connection.execute("SELECT id, completed_at FROM knowledge_extraction_runs").fetchall()
        assert backfill(expanded).linked_rows == 0
        assert connection.execute("SELECT id, completed_at FROM knowledge_extraction_runs").fetchall() == before


def test_the_run_is_completed_only_when_nothing_is_left(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        for part in partitions(connection)[:-1]:
            runner.backfill_partition(expanded, part, QUICK)
        assert run.run_status(connection) == "running"
        completion.complete(expanded, QUICK)
        assert run.run_status(connection) == "completed"


def test_dual_written_rows_are_not_touched(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count) "
            "VALUES (gen_random_uuid(), 'completed', '[1]', 1);"
            "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence, status) "
            "SELECT id, 'topic 5', 'about 5', 0.9, 'auto_approved' FROM knowledge_extraction_runs;"
            "UPDATE topics SET migrated_from_proposal_id = (SELECT id FROM topic_proposals), migration_timestamp = now() "
            "WHERE id = 5"
        )
        before = connection.execute("SELECT * FROM topic_proposals").fetchall()
        backfill(expanded)
        assert count(connection, "SELECT count(*) FROM topic_proposals") == 60
        backfill_rollback.rollback_backfill(expanded, reason="a test", limits=QUICK)
        assert connection.execute("SELECT * FROM topic_proposals").fetchall() == before
        assert count(connection, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 1


def test_links_that_were_lost_are_restored_with_fresh_values_among_rows_that_are_new(
    expanded: Database, session: Connection
) -> None:
    backfill(expanded)
    before = {row["id"]: row["created_at"] for row in session.execute("SELECT id, created_at FROM topic_proposals")}
    session.execute(
        "UPDATE topics SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id IN (9, 10, 60);"
        "UPDATE topics SET name = 'renamed', icon = NULL WHERE id = 9;"
        "INSERT INTO topics (name, description) SELECT 'new ' || n, '' FROM generate_series(1, 5) AS n"
    )
    backfill(expanded)
    assert broken_rules(session) == {}
    after = {row["id"]: row["created_at"] for row in session.execute("SELECT id, created_at FROM topic_proposals")}
    assert before.items() <= after.items()
    assert len(after) == 65
    renamed = session.execute(
        "SELECT icon, reviewed_at >= created_at AS fine FROM topic_proposals WHERE name = 'renamed'"
    )
    assert renamed.fetchall() == [{"icon": None, "fine": True}]


def test_a_proposal_that_somebody_rejected_is_not_approved_behind_their_back(
    expanded: Database, session: Connection
) -> None:
    backfill(expanded)
    session.execute("UPDATE topics SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 9")
    session.execute(
        "UPDATE topic_proposals SET status = 'rejected' WHERE id = migration.origin_proposal_id('topics', 9)"
    )
    backfill(expanded)
    assert broken_rules(session) == {"backfilled_topic_proposals_are_approved": 1}


def test_rows_deleted_since_the_plan_do_no_harm(expanded: Database, session: Connection) -> None:
    parts = partitions(session)
    session.execute("DELETE FROM topic_atoms; DELETE FROM atoms WHERE id > 150; DELETE FROM topics WHERE id < 20")
    linked = [runner.backfill_partition(expanded, part, QUICK).linked_rows for part in parts]
    assert linked == [41, 100, 50, 0, 0]
    completion.complete(expanded, QUICK)
    assert broken_rules(session) == {}


def test_the_ledger_tells_of_every_linked_row_once(expanded: Database, session: Connection) -> None:
    for part in partitions(session):
        runner.backfill_partition(expanded, part, QUICK, dagster_run_id="r1")
    rows = session.execute(
        "SELECT entity, partition_key, sum(linked_rows)::int AS rows, max(through_id) AS last, min(dagster_run_id) AS run "
        "FROM migration.backfill_batch GROUP BY entity, partition_key ORDER BY entity DESC, partition_key"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("topic", "000000000001", 60, 60, "r1"),
        ("atom", "000000000001", 100, 100, "r1"),
        ("atom", "000000000101", 100, 200, "r1"),
        ("atom", "000000000201", 100, 300, "r1"),
        ("atom", "000000000301", 100, 400, "r1"),
    ]
