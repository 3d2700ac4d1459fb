"""What linking a captured row must not change, what a bulk costs, and what the sweep completes behind the capture."""

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, count, fill
from knowledge_migration_tests.engine.dual_write.capturing import LINKED, atom, relate, topic

SOME_ATOMS = (
    "INSERT INTO atoms (type, title, content, user_approved) "
    "SELECT 'a', 'atom ' || n, '', false FROM generate_series(1, 300) AS n"
)
READ_BY_LINK = """
SELECT sum(pg_stat_get_xact_tuples_returned(index.indexrelid) + pg_stat_get_tuples_returned(index.indexrelid))::bigint
FROM pg_stat_force_next_flush(), pg_index AS index WHERE index.indexrelid = 'idx_atoms_migration'::regclass
"""
PROPOSED_LINKS = """
SELECT proposal.title, other.title AS linked
FROM atom_proposals AS proposal CROSS JOIN jsonb_array_elements(proposal.proposed_links) AS link
JOIN atoms AS other ON other.migrated_from_proposal_id = (link ->> 'proposal')::uuid
ORDER BY 1, 2
"""


def test_a_bulk_of_links_reads_each_atom_once(captured: Database, writer: Connection) -> None:
    with captured.connect("test") as connection:
        connection.execute(SOME_ATOMS)
        connection.execute("ANALYZE atoms")  # no row has a link
    writer.execute(SOME_ATOMS)
    for number in range(8):  # the plan of one row is cached
        writer.execute(
            "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (301, %s, 'solves')", (302 + number,)
        )
    read = count(writer, READ_BY_LINK)
    writer.execute(
        "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) SELECT id, id - 1, 'solves' FROM atoms WHERE id > 301"
    )
    assert count(writer, "SELECT count(*) FROM atom_proposals WHERE proposed_links IS NOT NULL") == 300
    assert count(writer, READ_BY_LINK) - read < 10_000


@pytest.mark.parametrize("run_exists", [True, False])
def test_a_trigger_that_changes_a_row_when_it_is_linked_is_contained(writer: Connection, run_exists: bool) -> None:
    if run_exists:
        topic(writer, "opens the run of the day")
    writer.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = upper(NEW.name); RETURN NEW; END $$; "
        "CREATE TRIGGER shout BEFORE UPDATE ON topics FOR EACH ROW EXECUTE FUNCTION shout()"
    )
    topic(writer, "quiet")
    assert count(writer, "SELECT count(*) FROM topics WHERE name = 'quiet' AND migrated_from_proposal_id IS NULL") == 1
    assert count(writer, "SELECT count(*) FROM topic_proposals WHERE name <> 'opens the run of the day'") == 0
    assert count(writer, "SELECT count(*) FROM migration.capture_log WHERE sqlstate = 'KM002'") == 1
    writer.execute("CREATE OR REPLACE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$")
    topic(writer, "harmless")
    assert count(writer, LINKED.format("topics")) == 1 + run_exists


def test_the_sweep_completes_relations_that_the_capture_did_not_see(captured: Database, writer: Connection) -> None:
    fill(captured)
    one, other = atom(writer, "one"), atom(writer, "other")
    writer.execute("INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (%s, 1, 'solves')", (one,))
    writer.execute("SET session_replication_role = replica")
    unseen, about = atom(writer, "unseen"), topic(writer, "unseen")
    relate(writer, about, other)
    links = "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (%s, %s, 'solves')"
    for pair in ((one, unseen), (unseen, one), (other, one)):
        writer.execute(links, pair)
    backfill(captured)
    with captured.connect("test") as connection:
        assert broken_rules(connection) == {}
        linked = connection.execute(PROPOSED_LINKS).fetchall()
    assert [tuple(row.values()) for row in linked] == [("one", "atom 1"), ("one", "unseen"), ("other", "one")]
